"""`flowyard migrate`: brings the tables of a database to this version, and adds API keys that were made elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard.access import INCLUDES, Actor, NewKey, Scope, parse_key
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import ExpiredKey
from flowyard.storage.database import open_database
from flowyard.storage.keys import Keys
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.reading import UnreadableFile
from flowyard_embedded.faults import WrongVariable
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.migration import bring_to_schema
from flowyard_embedded.streams import put

_EXAMPLES: Final = """\
  FLOWYARD_DATABASE_URL=postgresql://user:password@host/database flowyard migrate

`flowyard up` does this by itself. Services refuse to start on any other version of the tables."""
_BY: Final = Actor(None, "flowyard migrate", None)
_SCOPES: Final[dict[str, Scope]] = {scope: scope for scope in INCLUDES}


@dataclass(frozen=True)
class MigrateArgs:
    keys_from: str | None


class WrongKeyFile(FlowyardError, code="wrong_key_file"):
    """The name or the content of a key file is wrong."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class _KeyFile:
    """The content of a file NAME.SCOPE."""

    name: str
    scope: Scope
    key: NewKey


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.add_argument(
        "--keys-from",
        metavar="DIR",
        help="also make these API keys valid: files NAME.SCOPE, each with a key that was made elsewhere",
    )
    carry_out(parser, MigrateArgs, execute)


def execute(args: MigrateArgs) -> int:
    url = external_url(DATABASE_URL, os.environ)
    if url is None:
        raise WrongVariable(
            DATABASE_URL, "is missing: the database to migrate, postgresql://user:password@host:port/database"
        )
    # Read first, so that a wrong file is reported before anything has changed.
    keys = _read_keys(Path(args.keys_from)) if args.keys_from else []
    asyncio.run(_migrate(url.get_secret_value(), keys))
    return exits.OK


async def _migrate(url: str, key_files: Sequence[_KeyFile]) -> None:
    put(f"flowyard: {await bring_to_schema(url)}")
    if not key_files:
        return
    async with open_database(url, service="migrate", most=1) as database:
        for file in key_files:
            put(f"flowyard: key '{file.name}' with the id {file.key.key_id}, {await _keep(Keys(database), file)}")


async def _keep(keys: Keys, file: _KeyFile) -> str:
    if await keys.keep(file.key, file.name, frozenset({file.scope}), by=_BY):
        return "made valid"
    with suppress(ExpiredKey):
        if await keys.verify(file.key.text) is not None:
            return "as it was"
    return "NOT VALID: it was revoked, replaced or has expired, or another key has its id. Make another key"


def _read_keys(folder: Path) -> list[_KeyFile]:
    try:
        return [_read_key(path) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:
        raise UnreadableFile(str(error.filename or folder), error) from error


def _read_key(path: Path) -> _KeyFile:
    name, _, scope = path.name.rpartition(".")
    if not name or scope not in _SCOPES:
        raise WrongKeyFile(path, f"should be called NAME.SCOPE, with a scope of {', '.join(_SCOPES)}")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    parsed = parse_key(text)
    if parsed is None:
        raise WrongKeyFile(path, "holds no API key, which looks like fy_abcdefgh_…")
    return _KeyFile(name, _SCOPES[scope], NewKey(parsed[0], text, parsed[1]))
