"""One file per command, each with `execute(args) -> exit code`. Imported when its command is given, not before."""
