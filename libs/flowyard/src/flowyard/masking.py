"""What stands in place of a secret, in a text or a value. Pure; what seals secrets is in `sealing`."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
SEALED: Final = "flowyard-sealed:1:"
"""How a sealed value begins, wherever it is stored."""
SHORTEST: Final = 4
"""Characters that a secret has at least to be looked for in texts: shorter ones are parts of many words."""
_LINE: Final = 8
"""Characters of a line that is looked for by itself, where a secret has several."""
_PERCENT: Final = re.compile("%[0-9A-F]{2}")
_ESCAPED: Final = re.compile(r"(?<=\\u)[0-9a-f]{4}")


def is_sealed(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SEALED)


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each sealed one hidden: what may be shown to people."""
    return {name: MASK if is_sealed(value) else value for name, value in values.items()}


class Masker:
    """Replaces secrets by `***`: as they are, and as JSON, URLs, Base64 and hexadecimal digits spell them."""

    __slots__ = ("_forms", "_longest")

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one secret may be a part of another.
        self._forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._longest = len(self._forms[0]) if self._forms else 0

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: Any, known: Collection[str] = ()) -> Any:
        """JSON with every text in it masked, keys included, but for those that are `known` by a document.

        A number that is a secret becomes a text; one that only holds its digits is as it was.
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
            case int() | float() if not isinstance(value, bool) and repr(value) in self._forms:
                return MASK
            case _:
                return value

    def json(self, text: str, known: Collection[str]) -> str:
        """A reply that should hold JSON, masked so that it still does. `known`: as for `value`."""
        # Between fences or words, too: what stands around it is a text like any other.
        begin, end = min((at for at in map(text.find, "{[") if at >= 0), default=0), max(map(text.rfind, "}]")) + 1
        try:
            data = json.loads(text[begin:end])
            hidden = json.dumps(self.value(data, known), ensure_ascii=False)
        except (ValueError, RecursionError):
            return self.text(text)
        around = text[:begin], text[end:]
        if hidden == json.dumps(data, ensure_ascii=False) and not any(f in text for f in self._forms):
            return text
        return hidden.join(self.text(part) for part in around)

    def settled(self, text: str) -> int:
        """How many of the text's first characters are no part of a secret that only begins in it."""
        cut = len(text) - self._begun(text)
        for form in self._forms:
            at = text.find(form, max(0, cut - len(form) + 1))
            # What is a secret already doesn't wait for what might begin in the middle of it.
            if 0 <= at < cut:
                cut = max(cut, at + len(form))
        return cut

    def _begun(self, text: str) -> int:
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(len(form) > length and form.startswith(end) for form in self._forms):
                return length
        return 0


class Stream:
    """A text that comes piece by piece, masked across the pieces: what may be a secret's beginning is held back."""

    def __init__(self, masker: Masker, tell: Callable[[str], None]) -> None:
        self._masker = masker
        self._tell = tell
        self._held = ""

    def add(self, piece: str) -> None:
        text = self._held + piece
        cut = self._masker.settled(text)
        self._held = text[cut:]
        self._say(text[:cut])

    def end(self) -> None:
        """No more comes."""
        held, self._held = self._held, ""
        self._say(held)

    def _say(self, text: str) -> None:
        if text:
            self._tell(self._masker.text(text))


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    own = {secret, secret.strip(), " ".join(secret.split()), *(line for line in lines if len(line) >= _LINE)}
    for text in own:
        if len(text) >= SHORTEST:
            yield from _spellings(text)
    if len(secret) >= SHORTEST:
        yield from _rare_spellings(secret)


def _spellings(text: str) -> Iterator[str]:
    data = text.encode(errors="surrogatepass")
    yield text
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    yield from (quote(data), quote(data, safe=""), quote_plus(data))
    yield from (encode(data).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode))
    yield from (data.hex(), data.hex().upper())


def _rare_spellings(text: str) -> Iterator[str]:
    """Those of other writers of JSON, URLs and HTML; and in Base64 as a part of more, as in `Basic …`."""
    data = text.encode(errors="surrogatepass")
    for ascii_only in (True, False):
        spelled = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for each in (spelled, _ESCAPED.sub(lambda digits: digits[0].upper(), spelled)):
            yield from (each, each.replace("/", "\\/"))
    for url in (quote(data), quote(data, safe=""), quote_plus(data)):
        yield _PERCENT.sub(lambda found: found[0].lower(), url)
    yield html.escape(text)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # The digits that its neighbours can't change.
            core = encode(b"\0" * before + data).decode()[(8 * before + 5) // 6 : 8 * (before + len(data)) // 6]
            if len(core) >= _LINE:
                yield core
