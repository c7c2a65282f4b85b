"""The message APIs of chats on loopback, in the format in which the clients of others read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from flowyard.chats.platforms import Chat
from flowyard.chats.splitting import units

TOKEN: Final = "4711:s3cret"
_LIMITS: Final[Mapping[Chat, int]] = {"telegram": 4096, "whatsapp": 4096, "slack": 40_000, "discord": 2000}
_URLS: Final = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the server has taken. `place`: the chat, or what stands for it."""

    place: str
    text: str
    body: Mapping[str, Any]


@dataclass
class ChatServer:
    """`refuse`: statuses, with bodies and headers, that the next requests get. `taken`: the messages in their order.

    `hold_after`: once it has taken so many, it keeps requests waiting until they are `released`.
    """

    chat: Chat
    url: str = ""
    taken: list[Sent] = field(default_factory=list)
    tries: int = 0
    hold_after: int | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    refuse: list[tuple[int, Any, Mapping[str, str]]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.taken]

    async def handle(self, request: web.Request) -> web.Response:
        self.tries += 1
        if self.hold_after is not None and len(self.taken) >= self.hold_after:
            await self.released.wait()
        if self.refuse:
            status, answer, headers = self.refuse.pop(0)
            return _json(answer, status=status, headers=headers)
        if request.content_type == "application/json":
            body = await request.json()
        else:
            body = {name: _decoded(value) for name, value in (await request.post()).items()}
        return _HANDLERS[self.chat](self, request, body)

    def take(self, place: str, text: object, body: Mapping[str, Any]) -> str | None:
        """Why the message isn't taken."""
        if not isinstance(text, str) or not text.strip():
            return "empty"
        if units(text) > _LIMITS[self.chat]:
            return "long"
        self.taken.append(Sent(place, text, body))
        return None


def _decoded(value: object) -> Any:
    """Forms of bots have JSON in their fields."""
    try:
        return json.loads(str(value))
    except ValueError:
        return value


def _json(answer: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    # Without a charset: so the library of Discord wants it.
    head = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(answer).encode(), status=status, headers=head)


def _telegram(server: ChatServer, request: web.Request, body: dict[str, Any]) -> web.Response:
    def fault(status: int, description: str) -> web.Response:
        return _json({"ok": False, "error_code": status, "description": description}, status=status)

    if request.path != f"/bot{TOKEN}/sendMessage":
        return fault(401, "Unauthorized")
    if "chat_id" not in body:
        return fault(400, "Bad Request: chat_id is empty")
    why = server.take(str(body["chat_id"]), str(body.get("text", "")), body)
    if why is not None:
        reason = "message text is empty" if why == "empty" else "message is too long"
        return fault(400, f"Bad Request: {reason}")
    chat = {"id": int(body["chat_id"]), "type": "private", "first_name": "Ada"}
    message = {"message_id": len(server.taken), "date": 1_700_000_000, "chat": chat, "text": body["text"]}
    return _json({"ok": True, "result": message})


def _whatsapp(server: ChatServer, request: web.Request, body: dict[str, Any]) -> web.Response:
    def fault(status: int, code: int, message: str) -> web.Response:
        error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A"}
        return _json({"error": error}, status=status)

    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return fault(401, 190, "Invalid OAuth access token.")
    if body.get("messaging_product") != "whatsapp" or body.get("type") != "text":
        return fault(400, 100, "(#100) The parameter messaging_product is required.")
    if server.take(str(body["to"]), body["text"]["body"], body) is not None:
        return fault(400, 100, "(#100) Param text['body'] must be at most 4096 characters long.")
    return _json(
        {
            "messaging_product": "whatsapp",
            "contacts": [{"input": body["to"], "wa_id": body["to"]}],
            "messages": [{"id": f"wamid.{len(server.taken)}"}],
        }
    )


def _slack(server: ChatServer, request: web.Request, body: dict[str, Any]) -> web.Response:
    if request.path.startswith("/commands/"):
        if len(server.taken) >= _URLS:
            return web.Response(status=404, text="used_url")
        why = server.take(request.path, body.get("text"), body)
        return web.Response(text="ok") if why is None else web.Response(status=400, text="no_text")
    if request.headers.get("Authorization") != f"Bearer {TOKEN}" or request.path != "/chat.postMessage":
        return _json({"ok": False, "error": "invalid_auth"})
    why = server.take(str(body.get("channel")), body.get("text"), body)
    if why is not None:
        return _json({"ok": False, "error": "no_text" if why == "empty" else "msg_too_long"})
    message = {"text": body["text"], "type": "message", "bot_id": "B1", "ts": f"170000000{len(server.taken)}.000100"}
    return _json({"ok": True, "channel": body["channel"], "ts": message["ts"], "message": message})


def _discord(server: ChatServer, request: web.Request, body: dict[str, Any]) -> web.Response:
    def fault(status: int, code: int, message: str) -> web.Response:
        return _json({"message": message, "code": code}, status=status)

    _, kind, name, *rest = request.path.split("/")
    if kind == "channels" and request.headers.get("Authorization") != f"Bot {TOKEN}":
        return fault(401, 0, "401: Unauthorized")
    if kind == "webhooks" and rest[0] != "interaction-token":
        return fault(401, 50_027, "Invalid Webhook Token")
    if server.take(f"{request.method} {request.path}", body.get("content"), body) is not None:
        return fault(400, 50_035, "Invalid Form Body")
    author = {"id": "1", "username": "flow", "discriminator": "0", "avatar": None, "global_name": None, "bot": True}
    message = {
        "id": str(100 + len(server.taken)), "channel_id": "42", "type": 0, "content": body["content"], "author": author,
        "timestamp": "2026-11-30T10:00:00+00:00", "edited_timestamp": None, "tts": False, "mention_everyone": False,
        "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "flags": 0,
        "components": [], "application_id": name,
    }  # fmt: skip
    return _json(message)


_HANDLERS: Final[Mapping[Chat, Callable[[ChatServer, web.Request, dict[str, Any]], web.Response]]] = {
    "telegram": _telegram,
    "whatsapp": _whatsapp,
    "slack": _slack,
    "discord": _discord,
}


@asynccontextmanager
async def chat_server(chat: Chat, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ChatServer]:
    server = ChatServer(chat)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    server.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
