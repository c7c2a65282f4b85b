"""`cli.json`: where the command line finds the gateway, and the key it shows there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard_embedded.servers.home import write_secret


@dataclass(frozen=True, slots=True)
class Client:
    """`url`: of the gateway."""

    url: str
    key: SecretStr


def read_client(file: Path) -> Client | None:
    """None where there is none that we can read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Client(str(found["url"]), SecretStr(str(found["key"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_client(file: Path, client: Client) -> None:
    """Readable by its owner only. Raises OSError."""
    write_secret(file, json.dumps({"url": client.url, "key": client.key.get_secret_value()}, indent=2) + "\n")


async def equip_client(file: Path, url: str, database: Database) -> SecretStr | None:
    """Sees to it that the command line has a key that works. A new one, to be shown once, or None.

    Whoever starts the stack owns its database, so a key that was lost or revoked is replaced: nobody locks himself out.
    Raises OSError, Unavailable.
    """
    keys = Keys(database)
    known = read_client(file)
    if known and await keys.verify(known.key.get_secret_value()):
        write_client(file, replace(known, url=url))
        return None
    name = "flowyard up" if await keys.any_keys() else "first"
    _, text = await keys.create(name, frozenset({"admin"}))
    write_client(file, Client(url, SecretStr(text)))
    return SecretStr(text)
