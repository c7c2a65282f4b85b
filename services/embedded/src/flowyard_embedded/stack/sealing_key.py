"""The key for secret inputs: made once, and kept beside the data that it seals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flowyard.sealing import new_key
from flowyard_embedded.servers.home import write_secret
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.place import Place

VARIABLE: Final = "FLOWYARD_SECRET_KEY"


def sealing_key(place: Place, environment: Mapping[str, str]) -> Path | None:
    """The key's file, which is made if it isn't there. None where the environment has a key already, or should have.

    Whoever shares a database has to share the key as well: one of this stack alone would be that of nobody else.
    Raises OSError.
    """
    given = any(environment.get(name) for name in (VARIABLE, f"{VARIABLE}_FILE"))
    if given or external_url(DATABASE_URL, environment) is not None:
        return None
    if not place.secret_key.exists():
        write_secret(place.secret_key, f"{new_key()}\n")
    return place.secret_key
