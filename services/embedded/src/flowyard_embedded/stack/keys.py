"""The keys that a start makes: the command line's API key, and the key that seals secret inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowyard.secrets.sealing import new_key
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard_embedded.servers.home import write_secret
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.state import GatewayAccess, read_access, write_access

SEALING_KEY: Final = "FLOWYARD_SECRET_KEY"


async def ensure_access(file: Path, url: str, database: Database) -> SecretStr | None:
    """Writes a valid API key for the command line to `file`. Returns the key if it was made now, else None.

    Whoever starts the stack owns its database, so a key that was lost or revoked is replaced. Raises OSError,
    Unavailable.
    """
    keys = Keys(database)
    known = read_access(file)
    if known and await keys.verify(known.key.get_secret_value()):
        write_access(file, replace(known, url=url))
        return None
    name = "flowyard up" if await keys.any_keys() else "first"
    _, text = await keys.create(name, frozenset({"admin"}))
    write_access(file, GatewayAccess(url, SecretStr(text)))
    return SecretStr(text)


def sealing_key(place: Place, environment: Mapping[str, str]) -> Path | None:
    """The file of the sealing key, which is made if it is missing.

    None if the environment names a key, or a database of its own: all stacks that share a database need the same key,
    so one that is made here would be useless. Raises OSError.
    """
    given = any(environment.get(name) for name in (SEALING_KEY, f"{SEALING_KEY}_FILE"))
    if given or external_url(DATABASE_URL, environment) is not None:
        return None
    if not place.secret_key.exists():
        write_secret(place.secret_key, f"{new_key()}\n")
    return place.secret_key
