"""Where the stack is that a command is for, and the key to show there. Keys never stand on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import SecretStr

from flowyard.access import parse_key
from flowyard.errors import FlowyardError
from flowyard_embedded.faults import WrongVariable
from flowyard_embedded.stack.place import Place, find_place
from flowyard_embedded.stack.state import read_access

URL: Final = "FLOWYARD_URL"
KEY: Final = "FLOWYARD_API_KEY"


@dataclass(frozen=True, slots=True)
class Address:
    """`key_from`: where the key stands. `place`: the stack's own directory; None: only its URL is known."""

    url: str
    key: SecretStr
    key_from: str
    place: Place | None

    @property
    def key_id(self) -> str:
        """What may be told of the key."""
        parsed = parse_key(self.key.get_secret_value())
        return parsed[0] if parsed else "?"


class NoStack(FlowyardError):
    """Nothing runs here, and no other place was named."""

    code = "no_stack"

    def __init__(self, data: str | None) -> None:
        where, option = (f" in {data}", f" --data {data}") if data else ("", "")
        super().__init__(f"no stack is running{where}: start one with `flowyard up{option}`, or set {URL}")


class NoKey(FlowyardError):
    """The stack was named, but not the key."""

    code = "no_key"

    def __init__(self, url: str) -> None:
        super().__init__(f"no API key for {url}: set {KEY}")


def find_address(url: str | None, data: str | None, environment: Mapping[str, str]) -> Address:
    """`url`, else the stack that lives in `data`, else $FLOWYARD_URL, else the stack of the default directory.

    A key goes to no other address than the one it is for: the one that a stack has left in its directory goes there,
    $FLOWYARD_API_KEY where the URL is named. Raises NoStack, NoKey, WrongVariable.
    """
    place = find_place(data, environment)
    known = read_access(place.access)
    named = url or (None if data else environment.get(URL))
    if named:
        found = _checked(named, "--url" if url else URL)
    elif known is not None:
        found = known.url
    else:
        raise NoStack(data)
    own = known if known is not None and known.url == found else None
    text = environment.get(KEY)
    if text and not (data and own):
        return Address(found, _key(text), KEY, place if own else None)
    if own is None:
        raise NoKey(found)
    return Address(found, own.key, str(place.access), place)


def own_place(url: str, data: str | None, environment: Mapping[str, str]) -> Place | None:
    """The directory of the stack of this machine that has this URL, if `data` or the default one is it."""
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
        raise WrongVariable(name, f"should hold no user or password: the key belongs into {KEY}")
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def _key(text: str) -> SecretStr:
    if parse_key(text.strip()) is None:
        raise WrongVariable(KEY, "isn't an API key of Flowyard's, which looks like fy_abcdefgh_…")
    return SecretStr(text.strip())
