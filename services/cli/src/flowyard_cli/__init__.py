"""The command line `flowyard`. Its door is `main`; each command is a file in `commands`."""
