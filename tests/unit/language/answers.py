"""What every answer of the language has in common."""

from __future__ import annotations

import re

from flowyard.language.load import Loaded


def check(loaded: Loaded, text: str) -> None:
    """What must be true of every answer of the language, whatever it was given."""
    lines = re.split(r"\r\n|\r|\n", text)
    assert (loaded.workflow is None) is bool(loaded.errors)
    for problem in loaded.problems:
        assert problem.code
        assert problem.message
        assert 1 <= problem.position.line <= len(lines)
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1
        assert problem.render("x.yaml").startswith(f"x.yaml:{problem.position.line}:")
