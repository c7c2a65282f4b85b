"""`flowyard up` and `flowyard down` as processes, with small stand-ins for the services.

`python -m support.stack up …` is `flowyard up …` with stand-ins. STANDINS in the environment says what else they do:
`{"gateway": {"stop_s": 1}}`.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import psutil  # type: ignore[import-untyped]

from flowyard_embedded.stack import leash
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.service import ServiceSpec
from flowyard_embedded.stack.services import Surroundings, our_services
from flowyard_embedded.stack.state import ProcessStatus, StackState, read_state
from support.cli import clean_environment
from support.waiting import eventually_blocking

TESTS: Final = Path(__file__).parents[1]
SERVICES: Final = ("gateway", "dashboard", "executor-1", "registry", "sandbox-1")
HEALTHY_WITHIN_S: Final = 2.0
WITHIN_S: Final = 40.0


def stand_ins(around: Surroundings) -> list[ServiceSpec]:
    """With the environment of the real ones. Impatient: a stand-in is healthy at once or never."""
    return [
        replace(
            spec, command=leash.command(around.data, spec.name, "support.standin"), healthy_within_s=HEALTHY_WITHIN_S
        )
        for spec in our_services(around)
    ]


@dataclass(frozen=True)
class Up:
    """A `flowyard up` that runs, with what it has written so far in `out` and `err`."""

    process: subprocess.Popen[bytes]
    place: Place
    out_file: Path
    err_file: Path

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        return self.err_file.read_text()

    @property
    def state(self) -> StackState:
        state = read_state(self.place.state)
        assert state is not None
        return state

    def status(self, name: str) -> ProcessStatus:
        (status,) = [process for process in self.state.processes if process.name == name]
        return status

    def pid(self, name: str) -> int:
        pid = self.status(name).pid
        assert pid is not None
        return pid

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place.logs / f"{name}.log").read_text().splitlines()]

    def until(self, happened: Callable[[], object]) -> None:
        eventually_blocking(happened, WITHIN_S, explain=lambda: self.err + self.out)

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            assert self.process.poll() is None, self.err
            return "flowyard: up after" in self.out + self.err

        self.until(is_up)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


def free_ports() -> int:
    """A port that is free, and so is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            # Below those that outgoing connections are given.
            port = random.randrange(20_000, 32_000)
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@contextmanager
def started(place: Place, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    """`flowyard up`, which has begun, and has been ended when the block is left."""
    out, err = place.path.with_name("up.out"), place.path.with_name("up.err")
    with (
        out.open("wb") as to_out,
        err.open("wb") as to_err,
        launched(place, *args, env=env, out=to_out, err=to_err) as up,
    ):
        yield Up(up, place, out, err)
    output = out.read_text() + err.read_text()
    assert "Traceback" not in output, output


@contextmanager
def launched(
    place: Place, *args: str, out: IO[bytes] | int, err: IO[bytes] | int, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        _command("up", place, *args), env=_environment(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WITHIN_S)


@contextmanager
def running(place: Place, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    """`flowyard up` once it is up."""
    with started(place, "--port", "0", *args, env=env) as up:
        up.wait_until_up()
        yield up


def command(name: str, place: Place, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Runs one command to its end: its exit code, its output, its errors."""
    done = subprocess.run(
        _command(name, place, *args), env=_environment(env), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def behaving(standins: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """An environment."""
    return {"STANDINS": json.dumps(standins)}


def living(place: Place) -> list[str]:
    """What runs in the place: services and servers, by their command lines."""
    lines = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        is_ours = leash.MODULE in line or re.search(r"/(postgres|nats-server)\b", line.split(" ")[0])
        if str(place.path) in line and is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            lines.append(line)
    return lines


def _command(name: str, place: Place, *args: str) -> Sequence[str]:
    # As many executors on each machine.
    more = ["--executors", "1"] if name == "up" else []
    return [sys.executable, "-m", "support.stack", name, "--data", str(place.path), *more, *args]


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    ours = {name: value for name, value in clean_environment().items() if not name.startswith("FLOWYARD_")}
    # That of the tests may name other sources than those that are installed.
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**ours, "PYTHONPATH": os.pathsep.join(places), **(env or {})}


def _main() -> int:
    from flowyard_cli.commands import down, up  # noqa: PLC0415
    from flowyard_cli.failures import report  # noqa: PLC0415
    from flowyard_cli.grammar import arguments  # noqa: PLC0415
    from flowyard_cli.main import build_parser  # noqa: PLC0415
    from flowyard_embedded import streams  # noqa: PLC0415  # only where this file is a program

    streams.make_safe()
    namespace = build_parser(sys.argv[1]).parse_args()
    try:
        if namespace.command == "up":
            return up.execute(arguments(namespace.kind, namespace), stand_ins)
        return down.execute(arguments(namespace.kind, namespace))
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # as the command line's own top does
        return report(error, as_json=False)


if __name__ == "__main__":
    code = _main()
    sys.stdout.flush()
    os._exit(code)
