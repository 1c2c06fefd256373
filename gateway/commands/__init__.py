"""The commands of `gatehouse` by subject. Each imports what it needs when it runs, so that --help and start are quick."""
