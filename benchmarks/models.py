"""What a model call costs in CPU time: calls per second of one core beside each other, and the time of a chunk.

The provider is a process of its own that answers with ready bytes. The clients take short turns, so that a busy machine
slows all of them down, and every second round goes backwards, so that none always comes after another. What counts is
the median of the rounds' ratios.

A chunk is followed from the provider's bytes to the server-sent event of the gateway, over a real NATS. The executor's
part and the gateway's are both in this process, so both count; NATS and the connection of the follower don't.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp

from flowyard.api.history import TokenView
from flowyard.bus import subjects
from flowyard.bus.connection import open_bus
from flowyard.bus.messages import RunTokens
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.litellm_setup import litellm
from flowyard.llm.models import open_models
from flowyard.runs.events import StepId, Token
from flowyard.service.process import collect_garbage_seldom
from flowyard.web.sse import ServerEvent
from flowyard_executor.tokens import TokenStream

Client = Callable[[], Awaitable[None]]
Times = Mapping[str, Sequence[float]]

KEY: Final = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz0123"
ENVIRON: Final = {"OPENAI_API_KEY": KEY}
PROMPT: Final = "Write a short poem about rain. " * 20
TEXT: Final = "Rain falls on the roof, and the roof sings. " * 20
CHUNKS: Final = 400
TARGETS: Final = {"direct": ("aiohttp", 0.6), "through LiteLLM": ("bare LiteLLM", 0.8)}
CHUNK_TARGET_MS: Final = 0.05
USAGE: Final = {"prompt_tokens": 200, "completion_tokens": 220, "total_tokens": 420}
IDENTITY: Final = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o-mini"}


def whole_answer() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return json.dumps({**IDENTITY, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return (
        b"data: " + json.dumps({**IDENTITY, "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = whole_answer()
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [
        *(chunk({"content": "word "}) for _ in range(CHUNKS)),
        chunk({}, finish_reason="stop"),
        b"data: [DONE]\n\n",
    ]
    try:
        while start := await reader.readuntil(b"\r\n\r\n"):
            lines = start.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            if b'"stream"' not in await reader.readexactly(length):
                writer.write(whole)
                continue
            writer.write(head)
            for piece in pieces:
                # Each in a packet of its own, as from a model.
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def bare_aiohttp(session: aiohttp.ClientSession, url: str) -> Client:
    async def call() -> None:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}]}
        headers = {"Authorization": f"Bearer {KEY}"}
        async with session.post(f"{url}/chat/completions", json=body, headers=headers) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == TEXT

    return call


def bare_litellm(url: str) -> Client:
    async def call() -> None:
        messages = [{"role": "user", "content": PROMPT}]
        reply = await litellm.acompletion("openai/gpt-4o-mini", messages, api_base=url, api_key=KEY)
        assert reply.choices[0].message.content == TEXT

    return call


async def ours(
    stack: AsyncExitStack, url: str, *, litellm: frozenset[str] = frozenset(), stream: bool = False
) -> Client:
    models = await stack.enter_async_context(open_models(ENVIRON, litellm=litellm))
    settings = ModelSettings("openai", "gpt-4o-mini", api_base=url)
    request = ModelCall("write", settings, (ChatMessage("user", PROMPT),))

    async def call() -> None:
        reply = await models.reply(request, (lambda _: None) if stream else None)
        assert stream or reply.text == TEXT

    return call


async def followed(stack: AsyncExitStack, url: str, nats: str) -> Client:
    """A streamed reply whose tokens go to a follower, as in an executor and a gateway."""
    models = await stack.enter_async_context(open_models(ENVIRON))
    executor = await stack.enter_async_context(open_bus(nats, name="executor"))
    gateway = await stack.enter_async_context(open_bus(nats, name="gateway"))
    stream = TokenStream(executor)
    texts: dict[UUID, str] = {}
    complete: dict[UUID, asyncio.Event] = {}
    settings = ModelSettings("openai", "gpt-4o-mini", api_base=url)
    request = ModelCall("write", settings, (ChatMessage("user", PROMPT),))

    async def receive(tokens: RunTokens) -> None:
        shown = {name: getattr(tokens, name) for name in TokenView.model_fields}
        assert ServerEvent(json.dumps(shown), "token").encode()
        texts[tokens.run_id] += tokens.text
        if len(texts[tokens.run_id]) == CHUNKS * len("word "):
            complete[tokens.run_id].set()

    await stack.enter_async_context(gateway.subscribe(subjects.ANY_RUN_TOKENS, RunTokens, receive))

    async def call() -> None:
        run, step, offset = uuid4(), StepId("write", 1), 0
        texts[run], complete[run] = "", asyncio.Event()

        def on_token(text: str) -> None:
            nonlocal offset
            stream.add(run, 1, Token(step, text, 1, offset))
            offset += len(text)

        await models.reply(request, on_token)
        stream.end_run(run)
        await complete[run].wait()

    return call


def start_nats(stack: AsyncExitStack) -> str:
    """Its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    program = Path(sys.executable).with_name("nats-server")
    server = stack.enter_context(
        subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    )
    stack.callback(server.terminate)
    while server.poll() is None:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.01)
    return f"nats://127.0.0.1:{port}"


async def cpu_ms(client: Client, calls: int) -> float:
    """CPU time of one call in this process, with eight of them at a time."""
    started = time.process_time()

    async def some() -> None:
        for _ in range(calls // 8):
            await client()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(some())
    return (time.process_time() - started) / (calls // 8 * 8) * 1000


async def measure(url: str, rounds: int) -> Times:
    """Milliseconds of CPU of a call of each client, in each round."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        clients = {
            "aiohttp": (bare_aiohttp(session, url), 120),
            "direct": (await ours(stack, url), 120),
            "bare LiteLLM": (bare_litellm(url), 24),
            "through LiteLLM": (await ours(stack, url, litellm=frozenset({"openai"})), 24),
            "a streamed reply": (await ours(stack, url, stream=True), 8),
            "a followed reply": (await followed(stack, url, start_nats(stack)), 8),
        }
        for client, _ in clients.values():
            await client()
        times: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(rounds):
            for name in reversed(clients) if number % 2 else clients:
                client, calls = clients[name]
                times[name].append(await cpu_ms(client, calls))
    return times


def report(times: Times) -> bool:
    """Whether all targets are reached."""
    reached = True
    for name in times:
        ms = statistics.median(times[name])
        if name in TARGETS:
            other, target = TARGETS[name]
            ratio = statistics.median(theirs / its for theirs, its in zip(times[other], times[name], strict=True))
            reached = reached and ratio >= target
            print(
                f"{name:16} {ms:7.3f} ms  {1000 / ms:7.0f} calls/s of a core  {ratio:.2f} of {other} (target {target})"
            )
        elif not name.endswith("reply"):
            print(f"{name:16} {ms:7.3f} ms  {1000 / ms:7.0f} calls/s of a core")
    for reply, chunks in (("a streamed reply", "to the executor"), ("a followed reply", "to a follower")):
        more = (streamed - whole for streamed, whole in zip(times[reply], times["direct"], strict=True))
        chunk_ms = statistics.median(more) / CHUNKS
        reached = reached and chunk_ms <= CHUNK_TARGET_MS
        print(f"a streamed chunk {chunks:16} {chunk_ms:7.4f} ms  (target {CHUNK_TARGET_MS})")
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            # As in the services, and for all that is compared.
            collect_garbage_seldom()
            times = asyncio.run(measure(url, args.rounds))
        finally:
            server.terminate()
    return 0 if report(times) else 1


if __name__ == "__main__":
    sys.exit(main())
