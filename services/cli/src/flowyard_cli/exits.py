"""The exit codes of the command line."""

from __future__ import annotations

from typing import Final

OK: Final = 0
RUN_FAILED: Final = 1
NOT_WRITTEN: Final = 1
STACK_FAILED: Final = 1
"""The stack isn't there, or couldn't do it; nothing is wrong with the command."""
WRONG_INPUT: Final = 2
"""The document, the inputs or the command itself is wrong; nothing was run."""
INTERNAL: Final = 70
CANCELLED: Final = 130
TERMINATED: Final = 143
