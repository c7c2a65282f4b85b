"""Facts with numbers, as an answer cites them: bounded, and in a form in which no value can look like a fact."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowyard_cli.show.format import plural

MOST_BYTES: Final = 60_000
_MARGIN: Final = "    "
# A value must not end what the prompt encloses.
_TAG: Final = re.compile(r"<(?=\s*/?\s*facts)", re.IGNORECASE)
_CITED: Final = re.compile(r"(?<![A-Za-z0-9_])\[(\d{1,4}(?:\s*(?:,|;|-|–|and)\s*\d{1,4})*)\]")  # noqa: RUF001
_MOST_OF_A_RANGE: Final = 100
_SEVERAL: Final = {"part of the document": "parts of the document"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """`where`: how to look at it. `kind`: what it is, for a count of those that are left out.

    `rank`: facts with a small one are kept first.
    """

    title: str
    lines: Sequence[str]
    where: str
    kind: str
    rank: tuple[int, int]

    def text(self, number: int) -> str:
        """Its lines are indented, so that nothing in them can look like the beginning of another fact."""
        body = (f"{_MARGIN}{part}" for line in self.lines for part in line.splitlines() or [""])
        return _TAG.sub("‹", "\n".join([f"[{number}] {' '.join(self.title.split())}", *body]))  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class NumberedFacts:
    """The facts that are sent, the first of which has the number 1, and what is left out, such as `12 events`."""

    facts: Sequence[Fact]
    left_out: Sequence[str]

    @property
    def text(self) -> str:
        missing = [f"Not among these facts: {', '.join(self.left_out)}."] if self.left_out else []
        return "\n".join([*(fact.text(number) for number, fact in enumerate(self.facts, start=1)), *missing])


def chosen(facts: Sequence[Fact], *, most_bytes: int, unread: Sequence[str] = ()) -> NumberedFacts:
    """The facts, in their order; if they have too many bytes, without those of the last ranks.

    `unread`: what was left out before.
    """
    left = most_bytes - 500
    kept: set[int] = set()
    for i in sorted(range(len(facts)), key=lambda i: (facts[i].rank, i)):
        size = len(facts[i].text(9999).encode(errors="replace")) + 1
        if size <= left:
            kept.add(i)
            left -= size
    missing = Counter(fact.kind for i, fact in enumerate(facts) if i not in kept)
    left_out = [*(plural(number, kind, _SEVERAL.get(kind, "")) for kind, number in missing.items()), *unread]
    return NumberedFacts([facts[i] for i in sorted(kept)], left_out)


def cited(answer: str) -> list[int]:
    """The numbers in brackets in an answer, each once, in their order: of `[1]`, `[2, 3]` and `[4-6]`."""
    numbers = (number for group in _CITED.findall(answer) for number in _numbers(group))
    return sorted(set(numbers))


def _numbers(group: str) -> Iterator[int]:
    for part in re.split(r",|;|and", group):
        ends = [int(text) for text in re.findall(r"\d+", part)]
        yield from range(ends[0], min(ends[-1], ends[0] + _MOST_OF_A_RANGE) + 1) if len(ends) > 1 else ends


def shortened(value: Any, most: int) -> str:
    """A value as one line of JSON, a text as it is; of a long one the beginning and the end."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … ({len(text):,} characters) … {text[head - most :]}"


def facts_in(pairs: Iterable[tuple[str, Any]], *, most: int) -> list[str]:
    """A line for each that is known, `name: value`."""
    return [f"{name}: {shortened(value, most)}" for name, value in pairs if value is not None and value != ""]
