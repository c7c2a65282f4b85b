"""JSON of many values. The encoder and the decoder of Python's library let no other thread go on until they are done:
what would take them long is encoded and decoded here in parts, in a thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, Final, TypeVar

from flowyard.containers import count_containers

LIGHT: Final = 50_000
"""Values, keys among them, that are encoded, decoded or checked at once: that takes some milliseconds."""
_CHARACTERS: Final = 64
"""Of a text: as many take as long as one value."""
_PART: Final = 64 * 1024
"""Characters of JSON that are decoded at once."""
_SLICE: Final = 4096
"""Items of a list, or members of an object, that are encoded at once, if they are light."""
_TOKENS: Final = re.compile(r'\\.|["\[\]{}]', re.DOTALL)

T = TypeVar("T")
COMPACT: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
"""JSON in ASCII, so that even half a surrogate pair is preserved. Raises TypeError, ValueError, RecursionError."""


def is_light(value: Any, *, times: int = 1) -> bool:
    """Whether it has few values in it, so that an event loop may work on it itself, so many times."""
    left, waiting = LIGHT // (times or 1), [value]
    while waiting and left >= 0:
        value = waiting.pop()
        # The order is that of how often they come: this may look at fifty thousand.
        kind = type(value)
        if kind is str:
            left -= 1 + len(value) // _CHARACTERS
        elif kind is dict:
            left -= 1 + len(value)
            waiting += value if left >= 0 else ()
            waiting += value.values() if left >= 0 else ()
        elif kind is list or kind is tuple:
            left -= 1 + len(value)
            waiting += value if left >= 0 else ()
        else:
            left -= 1
    return left >= 0


def is_light_text(text: str) -> bool:
    """Whether JSON has few values in it, so that an event loop may decode it itself."""
    return len(text) <= LIGHT * _CHARACTERS and _has_few_values(text)


def _has_few_values(text: str) -> bool:
    return text.count(",") + text.count("[") + text.count("{") <= LIGHT


async def out_of_the_loop(work: Callable[[], T], value: Any, *, times: int = 1) -> T:
    """What `work` returns. It is done in a thread, unless the value that it works on is light, so many times."""
    return work() if is_light(value, times=times) else await asyncio.to_thread(work)


class Encoded(dict[str, Any]):
    """Values with the JSON of each, by name, which is made once. `fault`: why JSON can't hold them.

    `containers`: see `count_containers`.
    """

    __slots__ = ("containers", "fault", "texts")
    containers: int
    texts: Mapping[str, str]
    fault: str | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Encoded:
        encoded = cls(values)
        encoded.texts, encoded.fault = {}, None
        try:
            encoded.texts = {name: "".join(parts(value)) for name, value in values.items()}
        except (TypeError, ValueError, RecursionError) as error:
            encoded.fault = str(error)
        encoded.containers = sum(map(count_containers, encoded.texts.values()))
        return encoded

    @property
    def json(self) -> str:
        """Of all. Raises ValueError."""
        if self.fault is not None:
            raise ValueError(self.fault)
        return "{" + ",".join(f"{COMPACT.encode(name)}:{text}" for name, text in self.texts.items()) + "}"


async def encoded_each(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values themselves; with their JSON, unless they are light."""
    return values if is_light(values) else await asyncio.to_thread(Encoded.of, values)


async def encoded(value: Any) -> str:
    """Compact JSON. Raises TypeError, ValueError, RecursionError."""
    return COMPACT.encode(value) if is_light(value) else await asyncio.to_thread(lambda: "".join(parts(value)))


async def decoded(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, RecursionError."""
    return json.loads(text) if is_light_text(text) else await asyncio.to_thread(loads, text)


def parts(value: Any, encoder: json.JSONEncoder = COMPACT) -> Iterator[str]:
    """JSON in parts, of which none takes long."""
    if is_light(value):
        yield encoder.encode(value)
    elif isinstance(value, dict):
        members = _sorted(value.items()) if encoder.sort_keys else list(value.items())
        yield "{"
        yield from _joined((_members(some, encoder) for some in _slices(members)), encoder)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        yield from _joined((_items(some, encoder) for some in _slices(value)), encoder)
        yield "]"
    else:
        yield encoder.encode(value)


def _sorted(members: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """By their names, with pauses for other threads: a million take a second."""
    return list(merge(*map(sorted, _slices(list(members)))))


def _members(members: Sequence[tuple[str, Any]], encoder: json.JSONEncoder) -> Iterator[str]:
    if is_light(dict(members)):
        yield encoder.encode(dict(members))[1:-1]
    else:
        yield from _joined((_member(name, value, encoder) for name, value in members), encoder)


def _member(name: str, value: Any, encoder: json.JSONEncoder) -> Iterator[str]:
    yield encoder.encode({name: 0})[1:-2]
    yield from parts(value, encoder)


def _items(items: Sequence[Any], encoder: json.JSONEncoder) -> Iterator[str]:
    if is_light(items):
        yield encoder.encode(items)[1:-1]
    else:
        yield from _joined((parts(item, encoder) for item in items), encoder)


def _joined(groups: Iterable[Iterator[str]], encoder: json.JSONEncoder) -> Iterator[str]:
    for number, group in enumerate(groups):
        if number:
            yield encoder.item_separator
        yield from group


def _slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _SLICE] for start in range(0, len(values), _SLICE))


def loads(text: str) -> Any:
    """As `json.loads`, for a thread: others go on meanwhile. Raises ValueError, RecursionError."""
    if _has_few_values(text):
        return json.loads(text)
    large = _large_containers(text)
    reader: Any = json.JSONDecoder()
    at_once, lists, objects = reader.scan_once, reader.parse_array, reader.parse_object

    def scan(text: str, at: int) -> tuple[Any, int]:
        if at not in large:
            value: tuple[Any, int] = at_once(text, at)
        elif text[at] == "[":
            value = lists((text, at + 1), scan)
        else:
            value = objects((text, at + 1), reader.strict, scan, None, None, {})
        return value

    reader.scan_once = scan
    return reader.decode(text)


def _large_containers(text: str) -> set[int]:
    """Where those lists and objects begin that are too large to be decoded at once."""
    large: set[int] = set()
    begun: list[int] = []
    is_in_text = False
    for token in _TOKENS.finditer(text):
        match token[0]:
            case '"':
                is_in_text = not is_in_text
            case "[" | "{" if not is_in_text:
                begun.append(token.start())
            case "]" | "}" if not is_in_text and begun:
                at = begun.pop()
                if token.start() - at > _PART:
                    large.add(at)
            case _:
                pass
    return large
