"""`shell.run` where nothing is set up, and what is checked before a sandbox gets anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flowyard.language.tools import ToolUse
from flowyard.service.shell_programs import read_programs
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import ToolServices
from support.tool_calls import called

PROGRAMS = {"sort": "/usr/bin/sort"}


async def run(program: str, arguments: Sequence[str], given: str, seconds: float) -> dict[str, Any]:
    return {"program": program, "arguments": list(arguments), "input": given, "timeout": seconds}


READY = ToolRegistry(built_in(ToolServices(programs=PROGRAMS, run_program=run)))
NO_STACK = ToolRegistry(built_in(ToolServices(programs=PROGRAMS)))


def test_arguments_are_passed_on_as_they_are() -> None:
    result = called("shell.run", {"program": "sort", "arguments": ["; id", "$HOME", ""]}, tools=READY)
    assert result.value == {"program": "sort", "arguments": ["; id", "$HOME", ""], "input": "", "timeout": 10}


@pytest.mark.parametrize(
    ("arguments", "tools", "error"),
    [
        ({"program": "sort"}, None, "set FLOWYARD_SHELL_PROGRAMS"),
        ({"program": "sort"}, NO_STACK, "there is none here"),
        ({"program": "sotr"}, READY, "no program 'sotr' (did you mean 'sort'?)"),
        ({"program": "/usr/bin/sort"}, READY, "no program '/usr/bin/sort'"),
        ({"program": "sort; id"}, READY, "no program 'sort; id'"),
        ({"program": "sort", "arguments": "-r; id"}, READY, "is not of type 'array'"),
        ({"program": "sort", "timeout": 3600}, READY, "greater than the maximum"),
    ],
)
def test_what_is_not_allowed_is_said(arguments: Mapping[str, Any], tools: ToolRegistry | None, error: str) -> None:
    assert error in str(called("shell.run", arguments, tools=tools).error)


def test_a_document_has_to_allow_it() -> None:
    assert called("shell.run", {"program": "sort"}, tools=READY, use=ToolUse("shell.run")).outcome == "denied"
    other = ToolUse("shell.run", ("jq",))
    assert called("shell.run", {"program": "sort"}, tools=READY, use=other).outcome == "denied"


def test_the_setting_is_read_or_refused() -> None:
    assert read_programs(" jq = /usr/bin/jq, sort=/bin/sort,") == {"jq": "/usr/bin/jq", "sort": "/bin/sort"}
    for wrong in ("jq", "jq=bin/jq", "a/b=/bin/a", "a=/a,a=/b"):
        with pytest.raises(ValueError, match="name"):
            read_programs(wrong)
