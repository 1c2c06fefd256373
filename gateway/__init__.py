"""Memory and people: store, alerts, forwarding to the centre, API, console, command line."""
