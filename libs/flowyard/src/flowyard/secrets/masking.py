"""Masks secrets in texts and JSON values. Pure. `sealing` encrypts them."""

from __future__ import annotations

import base64
import html
import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

from flowyard.containers import require_few_containers

MASK: Final = "***"
SEALED: Final = "flowyard-sealed:1:"
"""The prefix of every sealed value."""
MIN_LENGTH: Final = 4
"""Shorter secrets (in characters) aren't masked in texts, because they are parts of many words."""
_MIN_LINE_LENGTH: Final = 8
"""A line of a secret with several lines is masked by itself if it has at least so many characters."""
_ESCAPES: Final = re.compile("(?:%[0-9A-Fa-f]{2})+")
_AT_START: Final = (0,)
_CUT_ESCAPE: Final = re.compile(
    r"%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){0,2}(?:%[0-9A-Fa-f]?)?\Z|%[0-9A-Fa-f]?\Z", re.ASCII
)
"""An end of which the next piece may make another character."""


def is_sealed(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SEALED)


def hide_sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with `***` instead of each sealed one, for display."""
    return {name: MASK if is_sealed(value) else value for name, value in values.items()}


class Masker:
    """Replaces secrets by `***`: the plain text, and its forms in JSON, HTML, Base64 and hexadecimal digits.

    In upper and lower case, and with any of its characters percent-encoded.
    """

    __slots__ = ("_forms", "_longest")

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: a secret may be a part of another.
        forms = {_lowered(_View(form).text) for secret in secrets for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._longest = len(self._forms[0]) if self._forms else 0

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        if not self._forms:
            return text
        view = _View(text)
        lowered = _lowered(view.text)
        for form in self._forms:
            if form in lowered:
                text = _masked(text, view, lowered, form)
                view = _View(text)
                lowered = _lowered(view.text)
        return text

    def value(self, value: Any, known: Collection[str] = ()) -> Any:
        """A JSON value with all texts in it masked, keys included, except keys in `known` (names in the document).

        A number that is itself a secret becomes `***`; a number that only contains a secret's digits doesn't change.
        """
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(each, known) for each in value]
            case dict():
                return {
                    name if name in known else self.text(name): self.value(each, known) for name, each in value.items()
                }
            case int() | float() if not isinstance(value, bool) and repr(value).lower() in self._forms:
                return MASK
            case _:
                return value

    def json(self, text: str, known: Collection[str]) -> str:
        """A reply that should contain JSON, masked so that it is still valid. `known`: as for `value`."""
        # The JSON may stand between code fences or sentences, which are masked as plain text.
        begin, end = min((at for at in map(text.find, "{[") if at >= 0), default=0), max(map(text.rfind, "}]")) + 1
        try:
            require_few_containers(text[begin:end])
            data = json.loads(text[begin:end], object_pairs_hook=_without_repetition)
            hidden = json.dumps(self.value(data, known), ensure_ascii=False)
        except (ValueError, RecursionError):
            return self.text(text)
        around = text[:begin], text[end:]
        if hidden == json.dumps(data, ensure_ascii=False) and self.text(text) == text:
            return text
        return hidden.join(self.text(part) for part in around)

    def safe_length(self, text: str) -> int:
        """How many of the text's first characters can't belong to a secret whose rest may follow the text."""
        cut = _CUT_ESCAPE.search(text)
        view = _View(text[: cut.start()] if cut else text)
        lowered = _lowered(view.text)
        safe = len(lowered) - self._unfinished_length(lowered)
        for form in self._forms:
            at = lowered.find(form, max(0, safe - len(form) + 1))
            # A complete match is masked at once, even if another secret could start inside it.
            if 0 <= at < safe:
                safe = max(safe, at + len(form))
        return view.place(safe)

    def _unfinished_length(self, text: str) -> int:
        """The length of the longest end of the text with which a secret may begin."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(len(form) > length and form.startswith(end) for form in self._forms):
                return length
        return 0


class _View:
    """A text with its percent-encoded characters decoded, and where each stands in the text."""

    __slots__ = ("_seen", "_written", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # From each of these places in the view on: the place in the text.
        self._seen: Sequence[int] = _AT_START
        self._written: Sequence[int] = _AT_START
        if "%" in text:
            self._decode()

    def place(self, at: int) -> int:
        """Where the view's character `at` begins in the text."""
        mark = bisect_right(self._seen, at) - 1
        return self._written[mark] + at - self._seen[mark]

    def _decode(self) -> None:
        # Arrays: there may be millions.
        self._seen, self._written = seen, written = array("q", [0]), array("q", [0])
        pieces: list[str] = []
        length = end = 0
        for run in _ESCAPES.finditer(self.text):
            pieces.append(self.text[end : run.start()])
            length, end = length + run.start() - end, run.start()
            for character in bytes.fromhex(run[0].replace("%", "")).decode(errors="surrogateescape"):
                pieces.append(character)
                seen.append(length)
                written.append(end)
                length, end = length + 1, end + 3 * len(character.encode(errors="surrogateescape"))
            seen.append(length)
            written.append(end)
        pieces.append(self.text[end:])
        self.text = "".join(pieces)


def _lowered(text: str) -> str:
    """In lower case, and of the same length: a few characters have none."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)


def _masked(text: str, view: _View, lowered: str, form: str) -> str:
    pieces, end, at = [], 0, lowered.find(form)
    while at >= 0:
        pieces += [text[end : view.place(at)], MASK]
        end, at = view.place(at + len(form)), lowered.find(form, at + len(form))
    return "".join([*pieces, text[end:]])


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        # A mapping would lose values, and whoever reads the reply couldn't know.
        raise ValueError
    return mapping


class MaskedStream:
    """Masks a text that arrives in pieces. An end that may begin a secret waits for the next piece."""

    def __init__(self, masker: Masker, emit: Callable[[str], None]) -> None:
        self._masker = masker
        self._emit = emit
        self._held_back = ""

    def add(self, piece: str) -> None:
        text = self._held_back + piece
        safe = self._masker.safe_length(text)
        self._held_back = text[safe:]
        self._emit_masked(text[:safe])

    def end(self) -> None:
        """Emits what was held back. Call it after the last piece."""
        rest, self._held_back = self._held_back, ""
        self._emit_masked(rest)

    def _emit_masked(self, text: str) -> None:
        if text:
            self._emit(self._masker.text(text))


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    own = {secret, secret.strip(), " ".join(secret.split()), *(line for line in lines if len(line) >= _MIN_LINE_LENGTH)}
    for text in own:
        if len(text) >= MIN_LENGTH:
            yield from _spellings(text)
    if len(secret) >= MIN_LENGTH:
        yield from _rare_spellings(secret)


def _spellings(text: str) -> Iterator[str]:
    data = text.encode(errors="surrogatepass")
    yield text
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    yield from (encode(data).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode))
    yield data.hex()


def _rare_spellings(text: str) -> Iterator[str]:
    """Forms that other JSON, URL and HTML encoders write; and Base64 of a longer text, as in `Basic …`."""
    data = text.encode(errors="surrogatepass")
    for ascii_only in (True, False):
        spelled = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield spelled.replace("/", "\\/")
    yield quote_plus(data)
    yield html.escape(text)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The digits that don't depend on the bytes before and after the secret.
            core = encode(b"\0" * offset + data).decode()[(8 * offset + 5) // 6 : 8 * (offset + len(data)) // 6]
            if len(core) >= _MIN_LINE_LENGTH:
                yield core
