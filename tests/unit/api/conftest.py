"""A server that answers what a test says, and a client of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from flowyard.api.client import Client


@dataclass(frozen=True)
class Say:
    """An answer. None as `body`: the connection breaks."""

    status: int = 200
    body: Any = field(default_factory=dict)
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass
class Server:
    """`seen`: the requests, as method, path, headers, body."""

    url: str
    answers: list[Say] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def client(self, *, patience_s: float = 5) -> Client:
        return Client(self.url, SecretStr("fy_key"), patience_s=patience_s)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            opened.seen.append((self.command, self.path, headers, body))
            answer = opened.answers.pop(0)
            if answer.body is None:
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in {"content-type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.text)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # as the base class wants them

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            if not self.wfile.closed and self.connection.fileno() != -1:
                super().finish()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        opened = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield opened
        http.shutdown()
        thread.join()


def problem(status: int, code: str, **more: Any) -> Say:
    headers = {"retry-after": str(more.pop("retry_after"))} if "retry_after" in more else {}
    body = {"type": f"urn:flowyard:problem:{code}", "title": "t", "status": status, "detail": "d", "code": code, **more}
    return Say(status, body, "application/problem+json", headers)
