"""Flowyard on one machine: the command line. `main` is the door; each command has a file of its own in `commands`."""
