"""Programs in sandboxes, called by the tool: what they compute, and that they can do nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import pytest

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.service.programs import Programs
from flowyard.tools.calling import call_tool
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolResult
from flowyard_embedded.servers.nats import NatsServer
from support.sandbox_service import Place, open_place, running_nats
from support.tool_calls import CONTEXT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has Landlock and seccomp")

PROGRAMS: Final = {name: f"/bin/{name}" for name in ("sh", "cat", "ls", "sort")}
SETTING: Final = ",".join(f"{name}={path}" for name, path in PROGRAMS.items())
ENDLESS: Final = "while :; do :; done"


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with running_nats() as nats:
        yield nats


@pytest.fixture
async def place(nats: NatsServer) -> AsyncIterator[Place]:
    async with open_place(nats) as place:
        yield place


async def called(place: Place, program: str, *arguments: str, **more: Any) -> ToolResult:
    services = ToolServices(programs={**PROGRAMS, "other": "/bin/other"}, run_program=Programs(place.bus).run)
    tool = ToolRegistry(built_in(services)).get("shell.run")
    assert tool is not None
    given: Mapping[str, Any] = {"program": program, "arguments": list(arguments), **more}
    return await call_tool(tool, ToolUse("shell.run", ()), given, CONTEXT, NO_RULES)


async def test_a_program_reads_and_writes_and_ends(place: Place) -> None:
    async with place.sandbox(shell_programs=SETTING):
        ended = await called(place, "sort", "-r", input="a\nb\n")
        assert ended.value == {"exit_code": 0, "output": "b\na\n", "errors": "", "is_cut": False}
        failed = await called(place, "sh", "-c", "echo one; echo two >&2; exit 3")
        assert failed.value == {"exit_code": 3, "output": "one\n", "errors": "two\n", "is_cut": False}
        # There is no shell: this is the name of a file, and nothing more.
        plain = await called(place, "ls", "; id", "$(id)", "|id", "`id`")
        assert plain.value["exit_code"] == 2
        assert "uid=" not in plain.value["output"] + plain.value["errors"]
        assert "'; id'" in plain.value["errors"]


REFUSED: Final = {
    "read a file": ("cat", "/etc/passwd"),
    "read about itself": ("cat", "/proc/self/environ"),
    "read the keys of the sandbox": ("cat", "/run/flowyard/sandbox/nats_url"),
    "list a folder": ("ls", "/"),
    "list a folder of users": ("ls", "/tmp"),
    "write a file": ("sh", "-c", "echo a > /tmp/flowyard-written"),
    "start a program": ("sh", "-c", "/bin/ls /; echo"),
    "become another program": ("sh", "-c", "exec /bin/ls /"),
    "start a process": ("sh", "-c", "(echo in a child); echo"),
    "signal others": ("sh", "-c", "kill -0 $PPID && echo alive"),
}


async def test_a_program_can_do_nothing_but_compute(place: Place) -> None:
    async with place.sandbox(shell_programs=SETTING):
        for what, call in REFUSED.items():
            ended = await called(place, *call)
            assert (what, ended.value["output"].strip()) == (what, "")
            assert (what, ended.value["errors"]) != (what, "")
        seen = (await called(place, "sh", "-c", "export -p")).value["output"]
        assert {line.split("=")[0].split()[-1] for line in seen.splitlines()} <= {"LC_ALL", "PWD", "OLDPWD", "SHLVL"}
        assert (await called(place, "sort", input="a")).value["output"] == "a\n"


async def test_time_and_output_are_bounded(place: Place) -> None:
    async with place.sandbox(shell_programs=SETTING):
        endless = await called(place, "sh", "-c", ENDLESS, timeout=0.5)
        assert endless.error == "it took longer than 0.5 s"
        much = await called(place, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do echo 0123456789; i=$((i+1)); done")
        assert (len(much.value["output"]), much.value["is_cut"]) == (200_000, True)
        unread = await called(place, "sh", "-c", "exit 0", input="x" * 400_000)
        assert unread.value["exit_code"] == 0


async def test_only_what_its_own_setting_names_is_executed_by_a_sandbox(place: Place) -> None:
    async with place.sandbox(shell_programs=SETTING):
        assert (await called(place, "other")).error == "this sandbox has no program 'other'"
        assert (await called(place, "sort", "\0")).error == "an argument has a character that no argument can have"
    async with place.sandbox():
        assert "no sandbox executes programs" in str((await called(place, "sort")).error)
