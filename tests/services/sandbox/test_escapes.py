"""Public escapes from sandboxes of other products, in our words, on both tiers: none gets anything of this machine."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flowyard_sandbox.jobs import CodeAnswer
from support.escapes import ESCAPES, FILES, KEEPS, LOOKS, NETWORK, PROCESSES
from support.sandboxes import Workers, job

_CANARY: Final = "canary-5f0c1b"


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that everybody may read, with text that must not be in any answer. The environment has it, too."""
    path = tmp_path_factory.mktemp("host") / "secret.txt"
    path.write_text(_CANARY)
    path.chmod(0o644)
    return path


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_SECRET_KEY", _CANARY)


def _holds_nothing_of_the_host(answer: CodeAnswer) -> None:
    shown = f"{answer.result} {answer.log} {answer.error}"
    for of_host in (_CANARY, "root:x:0", sys.prefix, "flowyard_sandbox", "HOSTNAME"):
        assert of_host not in shown


@pytest.mark.parametrize("code", ESCAPES.values(), ids=ESCAPES.keys())
def test_no_public_escape_gets_anything_of_the_host(workers: Workers, secret: Path, code: str) -> None:
    answer = workers.run(job(code, {"SECRET": str(secret)}))
    assert answer.ending in {"done", "failed"}
    _holds_nothing_of_the_host(answer)
    assert not secret.with_name("secret.txt.pth").exists()
    assert workers.run(job("result = 1")).result == "1"


def test_no_file_can_be_read(workers: Workers, secret: Path) -> None:
    answer = workers.run(job(FILES, {"SECRET": str(secret)}))
    assert answer.result == "[]"


def test_no_variable_of_the_environment_is_there(workers: Workers) -> None:
    answer = workers.run(job("import os\nresult = dict(os.environ)"))
    assert answer.result == "{}" or answer.ending == "failed"


class _Counting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.arrived.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, int, list[str]]]:
    arrived: list[str] = []
    with (
        http.server.HTTPServer(("127.0.0.1", 0), _Counting) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        server.arrived = arrived  # type: ignore[attr-defined]
        datagrams.bind(("127.0.0.1", server.server_port))
        datagrams.setblocking(False)  # noqa: FBT003
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield datagrams, server.server_port, arrived
        server.shutdown()
        thread.join()


def test_no_packet_leaves(workers: Workers, listener: tuple[socket.socket, int, list[str]]) -> None:
    datagrams, port, arrived = listener
    answer = workers.run(job(NETWORK, {"PORT": port}))
    assert answer.ending == "done"
    assert "SENT" not in answer.result
    assert arrived == []
    with pytest.raises(BlockingIOError):
        datagrams.recv(10)


def test_no_process_is_visible_and_none_can_be_started(workers: Workers) -> None:
    assert workers.run(job(PROCESSES)).result == "[]"


def test_nothing_is_kept_between_two_steps(workers: Workers) -> None:
    workers.run(job(KEEPS))
    after = workers.run(job(LOOKS))
    assert after.ending == "done"
    assert "left behind" not in after.result
