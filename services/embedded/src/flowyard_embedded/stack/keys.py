"""The keys that a start makes: the command line's API key, what seals secret inputs, and what signs webhooks."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowyard.access import Actor
from flowyard.errors.requests import ExpiredKey
from flowyard.secrets.sealing import new_key
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard_embedded.servers.home import write_secret
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.state import GatewayAccess, read_access, write_access

SEALING_KEY: Final = "FLOWYARD_SECRET_KEY"
SIGNING_VARIABLE: Final = "FLOWYARD_WEBHOOK_SECRET"
_SIGNING_BYTES: Final = 32


async def ensure_access(file: Path, url: str, database: Database) -> SecretStr | None:
    """Writes a valid API key for the command line to `file`. Returns the key if it was made now, else None.

    Whoever starts the stack owns its database, so a key that was lost or revoked is replaced. Raises OSError,
    Unavailable.
    """
    keys = Keys(database)
    known = read_access(file)
    if known and await _is_valid(keys, known.key.get_secret_value()):
        write_access(file, replace(known, url=url))
        return None
    name = "flowyard up" if await keys.any_keys() else "first"
    _, text = await keys.create(name, frozenset({"admin"}), by=Actor(None, "flowyard up", None))
    write_access(file, GatewayAccess(url, SecretStr(text)))
    return SecretStr(text)


async def _is_valid(keys: Keys, text: str) -> bool:
    try:
        return await keys.verify(text) is not None
    except ExpiredKey:
        return False


def sealing_key(place: Place, environment: Mapping[str, str]) -> Path | None:
    """The file of the sealing key, which is made if it is missing.

    None if the environment names a key, or a database of its own: all stacks that share a database need the same key,
    so one that is made here would be useless. Raises OSError.
    """
    return _made_once(place.secret_key, SEALING_KEY, environment, new_key)


def webhook_secret(place: Place, environment: Mapping[str, str]) -> Path | None:
    """As `sealing_key`, the file of the secret that signs notifications to receivers that callers name."""
    return _made_once(place.webhook_secret, SIGNING_VARIABLE, environment, _new_webhook_secret)


def _made_once(file: Path, variable: str, environment: Mapping[str, str], make: Callable[[], str]) -> Path | None:
    given = any(environment.get(name) for name in (variable, f"{variable}_FILE"))
    if given or external_url(DATABASE_URL, environment) is not None:
        return None
    if not file.exists():
        write_secret(file, f"{make()}\n")
    return file


def _new_webhook_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SIGNING_BYTES)).decode()}"
