"""A mail server on loopback: enough of SMTP (RFC 5321) to take mails, and to refuse them."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import MappingProxyType

from support.outside import TLS


@dataclass
class MailServer:
    """`refused`: answers by what a command begins with, such as `RCPT TO:<eve@`. `mails`: what was taken."""

    port: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 here\r\n")
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                self.commands.append(line)
                answer = self._answer(line)
                writer.write(f"{answer}\r\n".encode())
                if answer.startswith("354"):
                    data = await reader.readuntil(b"\r\n.\r\n")
                    # A dot at the start of a line is sent twice.
                    data = data[:-3].replace(b"\r\n.", b"\r\n")
                    self.mails.append(message_from_bytes(data, EmailMessage, policy=default))
                    writer.write(b"250 taken\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _answer(self, line: str) -> str:
        refusals = [answer for start, answer in self.refused.items() if line.startswith(start)]
        if refusals:
            return refusals[0]
        match line[:4].upper():
            case "EHLO":
                return "250-here\r\n250 AUTH PLAIN"
            case "AUTH":
                self.logins.append(b64decode(line.split()[2]).decode())
                return "235 ok"
            case "DATA":
                return "354 go on"
            case _:
                return "250 ok"


@asynccontextmanager
async def mail_server(
    *, tls: bool = False, refused: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[MailServer]:
    server, context = MailServer(refused=refused), None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "server.pem")
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
