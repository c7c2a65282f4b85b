"""The configuration of NATS: users, their subjects and passwords, limits. The only file that knows the format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from flowyard.bus.subjects import ANSWER_WITHIN
from flowyard_embedded.servers.ports import LOOPBACK

_NOTHING: Final = {"deny": [">"]}


@dataclass(frozen=True)
class Subjects:
    """What a user may publish and subscribe to, with NATS's wildcards.

    `answers`: it may answer each request that it receives, once, within ANSWER_WITHIN.
    """

    publish: Sequence[str]
    subscribe: Sequence[str]
    answers: bool = False


@dataclass(frozen=True)
class Limits:
    """In bytes: one message, all streams on disk, all streams in memory."""

    payload: int = 1 << 20
    store: int = 1 << 30
    memory: int = 64 << 20


def write_config(
    *,
    name: str,
    port: int,
    store: Path,
    users: Mapping[str, Subjects],
    passwords: Mapping[str, SecretStr],
    limits: Limits,
) -> str:
    """The configuration as JSON, which NATS reads. Opens no port for monitoring."""
    permissions = [_user(user, passwords[user], subjects) for user, subjects in users.items()]
    config = {
        "server_name": name,
        "host": LOOPBACK,
        "port": port,
        "max_payload": limits.payload,
        "jetstream": {"store_dir": str(store), "max_file_store": limits.store, "max_memory_store": limits.memory},
        "authorization": {"users": permissions},
    }
    return json.dumps(config, indent=2, ensure_ascii=False)


def _user(name: str, password: SecretStr, subjects: Subjects) -> dict[str, Any]:
    permissions: dict[str, Any] = {"publish": _only(subjects.publish), "subscribe": _only(subjects.subscribe)}
    if subjects.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"user": name, "password": password.get_secret_value(), "permissions": permissions}


def _only(subjects: Sequence[str]) -> dict[str, list[str]]:
    # NATS takes an empty list for "anything".
    return {"allow": list(subjects)} if subjects else _NOTHING
