"""Finds the stack for a command, and the API key for it. Keys are never given on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import SecretStr

from flowyard.access import parse_key
from flowyard.errors.base import FlowyardError
from flowyard_embedded.faults import WrongVariable
from flowyard_embedded.stack.place import Place, find_place
from flowyard_embedded.stack.state import read_access

URL: Final = "FLOWYARD_URL"
KEY: Final = "FLOWYARD_API_KEY"


@dataclass(frozen=True, slots=True)
class Address:
    """`key_from`: the variable or file of the key. `place`: the stack's directory; None: only its URL is known."""

    url: str
    key: SecretStr
    key_from: str
    place: Place | None

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        parsed = parse_key(self.key.get_secret_value())
        return parsed[0] if parsed else "?"


class NoStack(FlowyardError, code="no_stack"):
    """No stack runs here, and the command names no other."""

    def __init__(self, data: str | None) -> None:
        where, option = (f" in {data}", f" --data {data}") if data else ("", "")
        super().__init__(f"no stack is running{where}: start one with `flowyard up{option}`, or set {URL}")


class NoKey(FlowyardError, code="no_key"):
    """The URL of the stack is known, but no key for it."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no API key for {url}: set {KEY}")


def find_address(url: str | None, data: str | None, environment: Mapping[str, str]) -> Address:
    """`url`, else the stack that lives in `data`, else $FLOWYARD_URL, else the stack of the default directory.

    A key is sent to no other stack than its own: the key in a stack's directory to that stack, $FLOWYARD_API_KEY to
    the named URL. Raises NoStack, NoKey, WrongVariable.
    """
    place = find_place(data, environment)
    known = read_access(place.access)
    named = url or (None if data else environment.get(URL))
    if named:
        address = _checked(named, "--url" if url else URL)
    elif known is not None:
        address = known.url
    else:
        raise NoStack(data)
    own = known if known is not None and known.url == address else None
    text = environment.get(KEY)
    if text and not (data and own):
        return Address(address, _key(text), KEY, place if own else None)
    if own is None:
        raise NoKey(address)
    return Address(address, own.key, str(place.access), place)


def own_place(url: str, data: str | None, environment: Mapping[str, str]) -> Place | None:
    """The directory `data`, or the default one, if its stack has this URL; else None."""
    place = find_place(data, environment)
    known = read_access(place.access)
    return place if known is not None and known.url == url else None


def _checked(url: str, name: str) -> str:
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise WrongVariable(name, f"isn't the URL of a gateway: {str(error).lower()}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise WrongVariable(name, "should be the URL of a gateway, such as http://127.0.0.1:8400")
    if parsed.userinfo:
        raise WrongVariable(name, f"should have no user or password: set the key in {KEY}")
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def _key(text: str) -> SecretStr:
    if parse_key(text.strip()) is None:
        raise WrongVariable(KEY, "isn't an API key of Flowyard; they look like fy_abcdefgh_…")
    return SecretStr(text.strip())
