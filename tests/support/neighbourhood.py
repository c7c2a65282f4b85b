"""What a stack under test knows of its surroundings: chats and receivers on this machine, the secrets of senders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard.chats.platforms import CHATS, Chat
from support.chat_servers import TOKEN, ChatServer, chat_server
from support.hook_senders import SECRETS
from support.receiving import OTHER_SECRET, SECRET
from support.stack import free_ports

VARIABLES: Final[Mapping[str, str]] = {
    **SECRETS,
    "A_WEBHOOK_SECRET": SECRET,
    "ODD_WEBHOOK_SECRET": 'pa$$word ${HOME} #1 "=\\n',
    "TELEGRAM_BOT_TOKEN": TOKEN,
    "SLACK_BOT_TOKEN": TOKEN,
    "WHATSAPP_ACCESS_TOKEN": TOKEN,
}
"""To which documents may refer by `${env:NAME}`."""
FILES: Final[Mapping[str, str]] = {"sender": "s3cret of a file", "receiver": OTHER_SECRET}
"""To which they may refer by `${file:NAME}`."""


@dataclass(frozen=True)
class Neighbourhood:
    """`host`: this machine, as the stack reaches it. `files`: the folder of FILES, which tests may write to.

    `ports`: where the stack sends replies to each chat; a server listens there only while a test has one.
    """

    host: str
    files: Path
    ports: Mapping[Chat, int]

    @property
    def settings(self) -> Mapping[str, str]:
        """Variables of the services. Whatever isn't public is refused, unless it is this machine."""
        urls = " ".join(f"{chat}=http://{self.host}:{port}" for chat, port in self.ports.items())
        return {"FLOWYARD_OUTBOUND_ALLOW": self.host, "FLOWYARD_CHAT_URLS": urls}

    @asynccontextmanager
    async def chats(self) -> AsyncIterator[Mapping[Chat, ChatServer]]:
        """A server for each chat."""
        async with AsyncExitStack() as opened:
            yield {
                chat: await opened.enter_async_context(chat_server(chat, host=self.host, port=port))
                for chat, port in self.ports.items()
            }


def neighbourhood(host: str, files: Path) -> Neighbourhood:
    """With FILES in a new folder, which the users of all services can read."""
    files.mkdir()
    files.chmod(0o755)
    for name, text in FILES.items():
        (files / name).write_text(f"{text}\n")
        (files / name).chmod(0o644)
    ports: set[int] = set()
    while len(ports) < len(CHATS):
        first = free_ports()
        ports |= {first, first + 1}
    return Neighbourhood(host, files, dict(zip(CHATS, ports, strict=False)))
