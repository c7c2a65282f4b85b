"""What the log is told of a run's steps and model calls, for who looks closely. Never what is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from flowyard.runs.run import Entry

log = logging.getLogger(__name__)

_PREFIXES: Final = ("step.", "model.")
_FACTS: Final = (
    "node", "visit", "item", "attempt", "delay_s", "provider", "model", "duration_s", "first_token_s", "tokens_in",
    "tokens_out", "tokens_cached", "cost_usd", "retries", "handled",
)  # fmt: skip


def tell_steps(run_id: UUID, entries: Iterable[Entry]) -> None:
    """At debug: anybody else asks for the run's events, which are these and more."""
    if log.isEnabledFor(logging.DEBUG):
        for entry in entries:
            if entry.type.startswith(_PREFIXES):
                log.debug("%s", entry.type.replace(".", " "), extra={"run_id": run_id, **_facts(entry.data)})


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: data[name] for name in _FACTS if name in data}
    # The class of an error, not its message: that may quote what a model has said.
    return told | ({"code": error["code"]} if (error := data.get("error")) else {})
