"""The roles that a stack makes in its own Postgres: an owner, and one for each service. No service is the superuser."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowyard.bus.subjects import PERMISSIONS
from flowyard.storage.roles import DATABASE, OWNER, make_roles, role_of
from flowyard_embedded.servers.home import write_secret
from flowyard_embedded.servers.postgres import PostgresServer

_SERVICES: Final = tuple(service for service in PERMISSIONS if service != "sandbox")
"""The sandbox has no database."""

DatabaseUrls = Callable[[str], SecretStr]
"""The URL for the service of this name. `OWNER`: for whoever migrates the tables."""


async def open_roles(server: PostgresServer, file: Path) -> DatabaseUrls:
    """Makes database and roles. Their random passwords are in `file`, readable by its owner only.

    Raises Unavailable, WrongDatabase, OSError.
    """
    roles = {OWNER: OWNER} | {service: role_of(service) for service in _SERVICES}
    passwords = _passwords(file, roles.values())
    await make_roles(server.url.get_secret_value(), passwords)

    def url(service: str) -> SecretStr:
        return server.url_for(roles[service], SecretStr(passwords[roles[service]]), DATABASE)

    return url


def _passwords(file: Path, roles: Collection[str]) -> dict[str, str]:
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    passwords = {role: known.get(role) or secrets.token_urlsafe(24) for role in roles}
    if passwords != known:
        write_secret(file, json.dumps(passwords, indent=2))
    return passwords
