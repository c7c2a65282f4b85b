"""A server on loopback that plays the outside world and answers with any bytes, and a fake of the name servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

TLS: Final = Path(__file__).resolve().parents[1] / "data" / "tls"
"""`server.pem` has the key and the certificate of pinned.example, `authority.pem` who signed it: for tests only."""
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

Answer: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Outside:
    """`heads`: of each request, with its body. `connections`: also those that sent nothing. `names`: of TLS."""

    port: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)


@dataclass
class Names:
    """Answers for each name in order, the last one for ever. `lookups`: the names that were looked up."""

    answers: dict[str, list[Sequence[str]]]
    lookups: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> Sequence[str]:
        self.lookups.append(name)
        answers = self.answers.get(name.removesuffix("."))
        if answers is None:
            raise OSError(-2, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def names(**answers: Sequence[str]) -> Names:
    """`names(hooks=["10.0.0.1"])` → hooks.example has this address."""
    return Names({f"{name}.example": [addresses] for name, addresses in answers.items()})


@asynccontextmanager
async def outside(*answers: bytes | Answer, tls: bool = False, host: str = "127.0.0.1") -> AsyncIterator[Outside]:
    """Gives the answers in order, the last one for ever; in bytes, PORT is replaced by its own port."""
    server, handlers = Outside(), set[asyncio.Task[None]]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
            )
            body = (await reader.readexactly(length)).decode("latin-1")
            server.heads.append(head + body)
            answer = answers[min(len(server.heads), len(answers)) - 1]
            if isinstance(answer, bytes):
                writer.write(answer.replace(b"PORT", b"%d" % server.port))
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client has left: what it made of the answer is the test's subject.
            return
        finally:
            writer.close()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.create_task(handle(reader, writer))
        handlers.add(handler)
        handler.add_done_callback(handlers.discard)

    listening = await asyncio.start_server(serve, host, 0, ssl=_certificate(server) if tls else None)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def redirect(location: str, status: int = 302) -> bytes:
    head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return head.encode()


def trusting() -> ssl.SSLContext:
    """Trusts the authority of pinned.example's certificate, and no other."""
    return ssl.create_default_context(cafile=TLS / "authority.pem")


def _certificate(server: Outside) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")

    def remember(_: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> None:
        server.names.append(name)

    context.sni_callback = remember
    return context
