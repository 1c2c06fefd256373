"""The HTTP side of the gateway: thin endpoints by subject. What they do lives in the store and beside this folder."""
