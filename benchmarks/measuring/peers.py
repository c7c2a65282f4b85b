"""Starts what Flowyard is compared with, each as its own documentation recommends for production.

Each has one worker process, as Flowyard has one executor, and asks the same model. Those that need Postgres get the one
of `flowyard up`, with its settings. `folder` is where `make bench-peers` has installed them.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from flowyard_embedded.servers.postgres import start_postgres
from measuring.floors import TOPIC
from measuring.stack import Failed

APPS: Final = Path(__file__).resolve().parents[1] / "peer_apps"
# As `flowyard up` starts it.
POSTGRES_SETTINGS: Final = {"max_connections": "80", "autovacuum_naptime": "10s"}
_START_S: Final = 60


@dataclass(frozen=True)
class Peer:
    """Runs the chain for each POST of `body` to `url`. `database_url`: of its Postgres, if it has one.

    `pids`: of its processes, the database included.
    """

    url: str
    body: Any
    database_url: str | None
    pids: tuple[int, ...]


@contextmanager
def restate(folder: Path, scratch: Path, model_url: str) -> Iterator[Peer]:
    """The server as its profile for production has it, except for what a single new node needs: it provisions itself.

    It isn't started by the package's JavaScript, which would only pass signals on.
    """
    system = "darwin" if platform.system() == "Darwin" else "linux"
    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "x64"
    server = folder / f"node_modules/@restatedev/restate-server-{system}-{machine}/bin/restate-server"
    ingress, admin, handler, fabric = (_free_port() for _ in range(4))
    settings = {
        "RESTATE_AUTO_PROVISION": "true",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BASE_DIR": str(scratch / "restate"),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(fabric),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
    }
    hypercorn = ["-m", "hypercorn", "--config", "hypercorn.toml", "--bind", f"127.0.0.1:{handler}", "restate_app:app"]
    with ExitStack() as stack:
        python = str(folder / "venv/bin/python")
        environment = {"MODEL_URL": model_url}
        service = stack.enter_context(_serving(handler, [python, *hypercorn], scratch / "hypercorn.log", environment))
        command = [str(server), "--production", "--no-logo"]
        restate = stack.enter_context(_serving(admin, command, scratch / "restate.log", settings))
        _post(f"http://127.0.0.1:{admin}/deployments", b'{"uri": "http://127.0.0.1:%d"}' % handler)
        yield Peer(f"http://127.0.0.1:{ingress}/chain/run", TOPIC, None, (service, restate))


@contextmanager
def dbos(folder: Path, scratch: Path, model_url: str) -> Iterator[Peer]:
    with _on_postgres(folder, scratch, "dbos_app.py", {"MODEL_URL": model_url}) as peer:
        yield peer


@contextmanager
def saver(folder: Path, scratch: Path, model_url: str, durability: str) -> Iterator[Peer]:
    settings = {"MODEL_URL": model_url, "DURABILITY": durability, "LANGGRAPH_STRICT_MSGPACK": "true"}
    with _on_postgres(folder, scratch, "saver_app.py", settings) as peer:
        yield peer


@contextmanager
def _on_postgres(folder: Path, scratch: Path, app: str, settings: Mapping[str, str]) -> Iterator[Peer]:
    postgres = start_postgres(scratch / "postgres", settings=POSTGRES_SETTINGS)
    url, port = postgres.url.get_secret_value(), _free_port()
    try:
        command = [str(folder / "venv/bin/python"), app, str(port)]
        with _serving(port, command, scratch / "app.log", {**settings, "DATABASE_URL": url}) as pid:
            yield Peer(f"http://127.0.0.1:{port}/runs", {"topic": TOPIC}, url, (pid, postgres.process.pid))
    finally:
        postgres.process.stop()


@contextmanager
def _serving(port: int, command: list[str], log: Path, settings: Mapping[str, str]) -> Iterator[int]:
    """The process id of a program that listens on `port`, until the end of the block. No Ctrl-C reaches it."""
    environment = {**os.environ, **settings, "DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=APPS, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        for _ in range(_START_S * 20):
            if process.poll() is not None or _is_open(port):
                break
            time.sleep(0.05)
        if not _is_open(port):
            raise Failed(f"{command[0]} doesn't start:\n{log.read_text()[-2000:]}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _post(url: str, body: bytes) -> None:
    """Until it succeeds: Restate listens before all of it is ready."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(_START_S * 5):
        try:
            with opener.open(request, timeout=10):
                return
        except (URLError, TimeoutError):
            time.sleep(0.2)
    raise Failed(f"{url} refuses {body!r}")
