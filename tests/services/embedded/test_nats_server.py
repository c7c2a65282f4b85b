"""NATS as we start it: who may get in, who may use which subjects, and what it keeps."""

from __future__ import annotations

import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from flowyard_embedded.servers.lifetime import opened
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.nats_config import Limits, Subjects
from support.servers import EVERYTHING

USERS = {"tests": EVERYTHING}


def nats_server(home: Path, **options: Any) -> AbstractAsyncContextManager[NatsServer]:
    return opened(lambda give_up: start_nats(home, give_up=give_up, **options))


async def test_a_nats_user_is_kept_to_its_subjects(server_home: Path) -> None:
    users = {
        "worker": Subjects(publish=["work.done"], subscribe=["work.>"]),
        "watcher": Subjects(publish=[], subscribe=["work.done"]),
        "speaker": Subjects(publish=["work.done"], subscribe=[]),
    }
    async with nats_server(server_home, users=users) as server:
        refused: list[str] = []

        async def note(error: Exception) -> None:
            refused.append(str(error))

        clients = worker, watcher, speaker = [
            await nats.connect(server.url(user).get_secret_value(), error_cb=note) for user in users
        ]
        subscription = await watcher.subscribe("work.done")
        for client in (watcher, speaker):
            await client.subscribe("secret")
            await client.flush()
        await watcher.publish("work.done", b"forged")
        await watcher.flush()
        await worker.publish("secret", b"")
        await worker.publish("work.done", b"1")
        assert (await subscription.next_msg(timeout=2)).data == b"1"
        assert sorted(refused) == sorted(
            [
                'nats: permissions violation for publish to "work.done"',
                'nats: permissions violation for publish to "secret"',
                *['nats: permissions violation for subscription to "secret"'] * 2,
            ]
        )
        for client in clients:
            await client.close()


async def test_nobody_gets_into_nats_without_a_password(server_home: Path) -> None:
    async with nats_server(server_home, users=USERS) as server:
        for login in ("", "tests:wrong@", "other:wrong@"):
            client = Client()
            with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
                await client.connect(f"nats://{login}127.0.0.1:{server.port}", allow_reconnect=False)
            await client.close()


async def test_nats_keeps_its_streams_through_kill_9_and_lives_without_them(server_home: Path) -> None:
    server = start_nats(server_home, users=USERS)
    await publish_one(server)
    server.process.kill()
    server = start_nats(server_home, users=USERS, port=server.port)
    assert await stored(server) == 1
    server.process.kill()
    shutil.rmtree(server.store)
    server = start_nats(server_home, users=USERS, port=server.port)
    await publish_one(server)
    assert await stored(server) == 1
    server.process.stop()


async def publish_one(server: NatsServer) -> None:
    client = await nats.connect(server.url("tests").get_secret_value())
    await client.jetstream().add_stream(name="EVENTS", subjects=["events"])
    await client.jetstream().publish("events", b"1")
    await client.close()


async def stored(server: NatsServer) -> int:
    client = await nats.connect(server.url("tests").get_secret_value())
    info = await client.jetstream().stream_info("EVENTS")
    await client.close()
    return info.state.messages


async def test_streams_stay_within_their_limit(server_home: Path) -> None:
    async with nats_server(server_home, users=USERS, limits=Limits(store=1 << 20, payload=1 << 10)) as server:
        client = await nats.connect(server.url("tests").get_secret_value())
        assert client.max_payload == 1 << 10
        with pytest.raises(nats.js.errors.ServerError, match="insufficient storage resources"):
            await client.jetstream().add_stream(name="BIG", subjects=["big"], max_bytes=2 << 20)
        await client.close()
