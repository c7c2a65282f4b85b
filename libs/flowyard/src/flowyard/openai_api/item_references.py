"""Items of an input that are only named, by the ids that they have in stored responses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from flowyard.openai_api.replies import ChatAnswer
from flowyard.openai_api.responses import OutputItems

_ID: Final = re.compile(r"(?:msg|fc)_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_[0-9]+)?")


def referred_runs(items: Sequence[Any]) -> set[UUID]:
    """The runs whose responses have the items that are referred to."""
    matches = [_ID.fullmatch(name) for name in map(_reference, items) if name is not None]
    return {UUID(match[1]) for match in matches if match is not None}


def with_referred(items: Sequence[Any], answers: Mapping[UUID, ChatAnswer]) -> list[Any]:
    """The items, each reference replaced by what it refers to, if that is in the answers of these runs."""
    known = {item["id"]: item for run, answer in answers.items() for item in OutputItems(run).items(answer)}
    return [known.get(_reference(item), item) for item in items]


def _reference(item: Any) -> str | None:
    match item:
        case {"type": "item_reference", "id": str(name)}:
            return name
        case _:
            return None
