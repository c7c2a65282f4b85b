"""`flowyard migrate`: brings a database's tables to this version, and into it API keys that were made elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard.access import INCLUDES, NewKey, Scope, parse_key
from flowyard.errors import FlowyardError
from flowyard.storage.database import open_database
from flowyard.storage.keys import Keys
from flowyard_cli import exits
from flowyard_cli.reading import UnreadableFile
from flowyard_embedded.faults import WrongVariable
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.migration import bring_to_schema
from flowyard_embedded.streams import put

_SCOPES: Final[dict[str, Scope]] = {scope: scope for scope in INCLUDES}


class WrongKeyFile(FlowyardError):
    """A file that should hold a key, and doesn't."""

    code = "wrong_key_file"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class _Given:
    """A key from a file NAME.SCOPE."""

    name: str
    scope: Scope
    key: NewKey


def execute(args: argparse.Namespace) -> int:
    url = external_url(DATABASE_URL, os.environ)
    if url is None:
        raise WrongVariable(
            DATABASE_URL, "is missing: the database to migrate, postgresql://user:password@host:port/database"
        )
    # Read first: what is wrong with them is told before anything has changed.
    given = _read_keys(Path(args.keys_from)) if args.keys_from else []
    asyncio.run(_migrate(url.get_secret_value(), given))
    return exits.OK


async def _migrate(url: str, given: Sequence[_Given]) -> None:
    put(f"flowyard: {await bring_to_schema(url)}")
    if not given:
        return
    async with open_database(url, service="migrate", most=1) as database:
        for each in given:
            put(f"flowyard: key '{each.name}' with the id {each.key.key_id}, {await _keep(Keys(database), each)}")


async def _keep(keys: Keys, given: _Given) -> str:
    if await keys.keep(given.key, given.name, frozenset({given.scope})):
        return "made valid"
    if await keys.verify(given.key.text) is not None:
        return "as it was"
    return "NOT VALID: it was revoked, or another key has its id. Give another one"


def _read_keys(folder: Path) -> list[_Given]:
    try:
        return [_read_key(path) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:
        raise UnreadableFile(str(error.filename or folder), error) from error


def _read_key(path: Path) -> _Given:
    name, _, scope = path.name.rpartition(".")
    if not name or scope not in _SCOPES:
        raise WrongKeyFile(path, f"should be called NAME.SCOPE, with a scope of {', '.join(_SCOPES)}")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    parsed = parse_key(text)
    if parsed is None:
        raise WrongKeyFile(path, "holds no API key, which looks like fy_abcdefgh_…")
    return _Given(name, _SCOPES[scope], NewKey(parsed[0], text, parsed[1]))
