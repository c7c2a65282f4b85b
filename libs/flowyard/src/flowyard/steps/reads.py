"""What the templates and the expressions of a step or of a choice read: those that read much leave the event loop."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flowyard.language.values.expressions import Expression
from flowyard.language.values.templates import Template
from flowyard.large_json import out_of_the_loop

_PER_READ: Final = 4
"""What is read is copied, and then rendered, compared or checked: that takes longer than to encode it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reads:
    """`names`: of the fields. `times`: how often values are read and combined, at most."""

    names: frozenset[str]
    times: int

    @classmethod
    def of(cls, texts: Collection[Template | Expression], *, each: int = 1) -> Reads:
        """`each`: how often each of the texts is evaluated."""
        names = frozenset(name for text in texts for name in text.names)
        return cls(names, _PER_READ * each * sum(map(_parts, texts)))

    async def evaluated(self, work: Callable[[], T], *values: Mapping[str, Any]) -> T:
        """What `work` returns, which evaluates the texts with these values."""
        read = [some.get(name) for some in values for name in self.names]
        return await out_of_the_loop(work, read, times=self.times)


def _parts(text: Template | Expression) -> int:
    return len(text.parts) if isinstance(text, Template) else sum(1 for _ in ast.walk(text.tree))
