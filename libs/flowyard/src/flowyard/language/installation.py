"""What the installation adds to a document's checks: what it knows of models, and what it allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import OWN_PREFIX
from flowyard.language.workflow import Budget

_PATTERN: Final = re.compile(r"[A-Za-z0-9_*]+")


@dataclass(frozen=True, slots=True)
class Variables:
    """The environment variables that documents may name, so that their values are sent to a provider.

    `patterns`: names, in which `*` stands for any characters.
    """

    patterns: tuple[str, ...] = ("*_API_KEY", "*_TOKEN")

    def __str__(self) -> str:
        return ",".join(self.patterns)

    def allow(self, name: str) -> bool:
        """Our own variables, which give access to our servers, are never allowed."""
        own = name.upper().startswith(OWN_PREFIX)
        return not own and any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def with_name(self, name: str) -> str:
        """What FLOWYARD_DOCUMENT_VARIABLES would have to be to allow the name, too."""
        return ",".join((*self.patterns, name))


KEYS_AND_TOKENS: Final = Variables()
ANY_VARIABLE: Final = Variables(("*",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """`has_price`: whether the cost of a model's calls is known before they are made.

    `daily_budgets`: what workflows may spend per day.
    """

    has_price: Callable[[ModelSettings], bool] = lambda _: True
    variables: Variables = ANY_VARIABLE
    daily_budgets: Mapping[str, Budget] = field(default_factory=dict)


ANY: Final = Installation()
"""Refuses nothing: for documents that are only read."""


def read_variables(text: str | Variables) -> Variables:
    """`FLOWYARD_DOCUMENT_VARIABLES`: patterns, separated by commas. Raises ValueError."""
    if not isinstance(text, str):
        return text
    patterns = tuple(part.strip() for part in text.split(","))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"should be names with *, separated by commas: '{pattern}' is none")
    return Variables(patterns)
