"""One file per command: `add(parser)` adds its options, a frozen dataclass holds their values, the rest is its work.

The list of all commands is in `main`, which imports a file only when its command is given.
"""
