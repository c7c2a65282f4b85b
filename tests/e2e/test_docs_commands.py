"""The commands that the documentation shows do what it says, and its tables say what the code does."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from flowyard.runs.run import MOVES, STATES
from flowyard.settings import ProcessSettings, read_settings
from flowyard.telemetry.metrics import Metrics
from flowyard_dashboard.settings import DashboardSettings
from flowyard_executor.settings import ExecutorSettings
from flowyard_gateway.settings import GatewaySettings
from flowyard_registry.settings import RegistrySettings
from flowyard_sandbox.settings import SandboxSettings
from support.cli import clean_environment
from support.documents import ROOT, commands, table
from support.executors import prompt_of
from support.servers import temporary_home
from support.stack import free_ports
from support.system import System
from support.wire.behaviour import Behaviour, Hang, Text
from support.wire.openai import openai_server
from support.wire.server import Request

# A page may start and end a whole stack several times.
pytestmark = pytest.mark.timeout(180)

README: Final = ROOT / "README.md"
STACK: Final = ROOT / "docs" / "stack.md"
TOOLS: Final = ROOT / "docs" / "tools.md"
MAP: Final = ROOT / "docs" / "map.md"
GLOSSARY: Final = ROOT / "docs" / "glossary.md"
SERVICES: Final[Mapping[str, type[ProcessSettings]]] = {
    "gateway": GatewaySettings,
    "registry": RegistrySettings,
    "executor": ExecutorSettings,
    "dashboard": DashboardSettings,
    "sandbox": SandboxSettings,
}
OURS: Final = "FLOWYARD_"
METHODS: Final = {"get", "put", "post", "delete", "patch"}
_NEXT: Final = "next block"


@dataclass(frozen=True)
class Reader:
    """Somebody who types what a page says, in a directory with the examples, on a machine of their own."""

    home: Path
    port: int

    async def types(self, script: str) -> str:
        """What it has printed. The first command that fails ends it."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-eu", "-o", "pipefail", "-c", self.at_home(script)),
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, err = (text.decode() for text in await process.communicate())
        assert (process.returncode, "Traceback" in out + err) == (0, False), out + err
        return out

    def at_home(self, text: str) -> str:
        """Two stacks can't listen on the same ports."""
        text = text.replace("flowyard up", f"flowyard up --port {self.port} --executors 1")
        return text.replace("8400", str(self.port)).replace("8401", str(self.port + 1))

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in clean_environment().items() if not name.startswith(OURS)}
        programs = f"{Path(sys.executable).parent}:{others['PATH']}"
        data = str(self.home / "data")
        return {**others, "PATH": programs, "HOME": str(self.home), "CURL_HOME": str(self.home), f"{OURS}DATA": data}


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    with temporary_home() as home:
        # A refusal is a failure, and nothing of it goes through anybody's proxy.
        (home / ".curlrc").write_text('fail-with-body\nnoproxy = "*"\n')
        reader = Reader(home, free_ports())
        async with openai_server(_reply) as model:
            _copy_examples(home / "examples", model.url)
            try:
                yield reader
            finally:
                await reader.types("flowyard down")


def _reply(request: Request) -> Behaviour:
    """An article takes long enough to be cancelled."""
    return Hang() if "article" in prompt_of(request) else Text("Soft rain on the roof")


def _copy_examples(to: Path, url: str) -> None:
    """They ask a model on the wire instead of the one that takes seconds."""
    to.mkdir()
    for file in (ROOT / "examples").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        model = f"config:\n  llm: {{provider: hosted_vllm, model: m, api_base: '{url}'}}\n"
        (to / file.name).write_text(text if "\nconfig:" in text else text + model)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("page", [README, STACK, TOOLS], ids=lambda page: page.name)
async def test_what_a_page_says_can_be_typed_prints_what_it_shows(page: Path, reader: Reader) -> None:
    blocks = commands(page)
    out = await reader.types("\n".join(f"echo '{_NEXT}'\n{block.text}" for block in blocks))
    for block, printed in zip(blocks, out.split(f"{_NEXT}\n")[1:], strict=True):
        _check(printed.splitlines(), reader.at_home(block.following or "").splitlines(), str(block))


def _check(printed: list[str], shown: list[str], where: str) -> None:
    """What is shown comes in this order; there may be other lines between, and `…` is anything."""
    rest = iter(printed)
    for line in shown:
        pattern = re.escape(line).replace("…", ".*")
        assert any(re.search(pattern, one) for one in rest), f"{where}: no line '{line}' in\n" + "\n".join(printed)


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_that_are_listed_are_those_of_help(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(SERVICES[service], ["--help"], program=service, about="")
    printed = re.findall(r"^  (FLOWYARD_\w+) \((.*)\)\n {6}(.*)$", capsys.readouterr().out, re.MULTILINE)
    listed = [row for row in table(STACK, "variable", "service", "default", "meaning") if _concerns(row[1], service)]
    assert {(name, about) for name, _, about in printed} == {(row[0], row[3]) for row in listed}
    defaults = {(row[0], row[3]): row[2].lower() for row in listed}
    wrong = [name for name, notes, about in printed if not _is_shown(defaults[name, about], notes)]
    assert wrong == []


def _concerns(services: str, service: str) -> bool:
    return services == "all" or service in services.split(", ")


def _is_shown(default: str, notes: str) -> bool:
    """Each service has a port of its own, and an executor the name of its host."""
    need = notes.split(",", maxsplit=1)[0].removeprefix("default: ").lower()
    return need in default.split(", ") or default == "the host's name"


def test_the_metrics_that_are_listed_are_all_that_there_are() -> None:
    page = Metrics(service="tests", version="0")._registry.collect()
    there = {
        (family.name + "_total" * (family.type == "counter"), family.type, family.documentation)
        for family in page
        if family.name.startswith(OURS.lower())
    }
    assert {
        (name, kind, about) for name, kind, _, about in table(STACK, "metric", "kind", "labels", "meaning")
    } == there


async def test_the_routes_that_are_listed_are_all_that_the_gateway_has(system: System) -> None:
    async with httpx.AsyncClient(headers=system.headers) as client:
        paths = (await client.get(f"{system.url}/openapi.json")).json()["paths"]
    there = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods.keys() & METHODS}
    listed = {route for route, _, _ in table(STACK, "route", "scope", "what")}
    assert listed == {route for route in there if " /health/" not in route}


def test_the_states_that_are_listed_have_the_moves_of_the_code() -> None:
    listed = {state: set(re.findall(r"\w+", after)) & {*STATES} for state, _, after in _states()}
    moves = {state: {move[state] for move in MOVES.values() if state in move} for state in STATES}
    assert listed == moves


def _states() -> list[list[str]]:
    return table(GLOSSARY, "state", "meaning", "what can follow")


def test_every_room_and_every_service_is_on_the_map() -> None:
    listed = {folder for folder, _ in table(MAP, "folder", "what it owns")}
    library = ROOT / "libs" / "flowyard" / "src" / "flowyard"
    rooms = [*library.iterdir(), *(ROOT / "services").iterdir(), *(ROOT / "tests").iterdir()]
    missing = [
        room
        for room in (f"{room.relative_to(ROOT)}{'/' * room.is_dir()}" for room in rooms if _is_room(room))
        if room not in listed
    ]
    assert missing == []


def _is_room(path: Path) -> bool:
    has_code = path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    return has_code and not path.name.startswith("__") and path.name != "conftest.py"
