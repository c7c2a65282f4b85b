"""Reads the arguments of a call, and checks them against the tool's schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from flowyard.language.problems import did_you_mean
from flowyard.threads import in_daemon_thread
from flowyard.tools.tool import ARGUMENTS_CHARACTERS

if TYPE_CHECKING:
    from jsonschema import ValidationError

_SHOWN: Final = 5
_LONGEST: Final = 300
"""Characters of a fault: some of them repeat the value."""


class InvalidArguments(Exception):
    """The arguments of a call don't fit the tool's schema. The text says all that is wrong with them."""


async def prepare() -> None:
    """To be called before arguments are checked: the first import takes a tenth of a second."""
    if "jsonschema" not in sys.modules:
        await in_daemon_thread(lambda: import_module("jsonschema"))


def read_arguments(text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a model has written. Raises InvalidArguments."""
    if len(text) > ARGUMENTS_CHARACTERS:
        raise InvalidArguments(f"the arguments have more than {ARGUMENTS_CHARACTERS:,} characters")
    try:
        arguments = json.loads(text or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"the arguments are no JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise InvalidArguments("the arguments must be a JSON object")
    check_arguments(arguments, parameters)
    return arguments


def check_arguments(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raises InvalidArguments."""
    faults = list(_faults(arguments, parameters))
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InvalidArguments("; ".join(faults[:_SHOWN]) + more)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _faults(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[str]:
    properties = parameters.get("properties") or {}
    for name in arguments if parameters.get("additionalProperties") is False else ():
        if name not in properties:
            near = did_you_mean(name, properties)
            yield f"no argument '{name[:_LONGEST]}'{f' ({near})' if near else ''}"
    for error in _validator(json.dumps(parameters)).iter_errors(dict(arguments)):
        if error.validator != "additionalProperties" or error.path:
            yield _shown(error)


def _shown(error: ValidationError) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.path).removeprefix(".")
    text = f"{where}: {error.message}" if where else str(error.message)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    # Here, because registries and command lines know tools without ever calling one, and needn't have the package.
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    return Draft202012Validator(json.loads(schema))
