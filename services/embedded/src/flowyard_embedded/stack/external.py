"""Servers of the user's own: `FLOWYARD_DATABASE_URL` and `FLOWYARD_NATS_URL`, or the files that hold these URLs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from flowyard.settings import PREFIX, DatabaseUrl, NatsUrl
from flowyard_embedded.faults import WrongVariable

DATABASE_URL: Final = f"{PREFIX}DATABASE_URL"
NATS_URL: Final = f"{PREFIX}NATS_URL"
_SHAPES: Final[Mapping[str, Any]] = {DATABASE_URL: DatabaseUrl, NATS_URL: NatsUrl}


def external_url(variable: str, environment: Mapping[str, str]) -> SecretStr | None:
    """The value of the variable or of its file, checked as services check it; None if neither is set.

    Raises WrongVariable.
    """
    text = environment.get(variable) or _from_file(f"{variable}_FILE", environment)
    if not text:
        return None
    try:
        url: SecretStr = TypeAdapter(_SHAPES[variable]).validate_python(text)
    except ValidationError as error:
        raise WrongVariable(variable, error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return url


def _from_file(variable: str, environment: Mapping[str, str]) -> str | None:
    path = environment.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        raise WrongVariable(variable, f"can't read {path}: {reason}") from error
