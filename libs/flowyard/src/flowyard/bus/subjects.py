"""All subjects, and which service may use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

NAME: Final = r"^[A-Za-z0-9_-]{1,128}$"
"""A part of a subject, between two dots."""

RUNS_QUEUED: Final = "flowyard.runs.queued"
WORKFLOWS_CHANGED: Final = "flowyard.workflows.changed"
KEYS_CHANGED: Final = "flowyard.keys.changed"
MODELS_HELD: Final = "flowyard.models.held"

# To subscribe to, for all runs.
ANY_RUN_EVENTS: Final = "flowyard.runs.*.events"
ANY_RUN_TOKENS: Final = "flowyard.runs.*.tokens"
ANY_RUN_CONTROL: Final = "flowyard.runs.*.control"
ANY_RUN_FOLLOWED: Final = "flowyard.runs.*.followed"


def run_events(run_id: UUID) -> str:
    return fill(ANY_RUN_EVENTS, str(run_id))


def run_tokens(run_id: UUID) -> str:
    return fill(ANY_RUN_TOKENS, str(run_id))


def fill(pattern: str, token: str) -> str:
    """Replaces `*`. Raises ValueError if `token` isn't a NAME: a wildcard would subscribe to every run."""
    if not re.fullmatch(NAME, token):
        raise ValueError(f"{token!r} can't be a part of a subject")
    return pattern.replace("*", token)


class Permissions(NamedTuple):
    """Subjects that a NATS user may use. Neither is ever empty: to NATS an empty list of subjects means all of them."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


_CHANGES_TO_RUNS: Final = (RUNS_QUEUED, ANY_RUN_EVENTS, ANY_RUN_CONTROL)
_LIVE: Final = (ANY_RUN_EVENTS, ANY_RUN_TOKENS)

PERMISSIONS: Final[Mapping[str, Permissions]] = {
    "registry": Permissions(publish=(WORKFLOWS_CHANGED, *_CHANGES_TO_RUNS), subscribe=(KEYS_CHANGED,)),
    "executor": Permissions(
        publish=(*_CHANGES_TO_RUNS, ANY_RUN_TOKENS, MODELS_HELD),
        subscribe=(RUNS_QUEUED, ANY_RUN_CONTROL, ANY_RUN_FOLLOWED, MODELS_HELD, WORKFLOWS_CHANGED),
    ),
    "gateway": Permissions(
        publish=(*_CHANGES_TO_RUNS, ANY_RUN_FOLLOWED, KEYS_CHANGED), subscribe=(*_LIVE, KEYS_CHANGED)
    ),
    "dashboard": Permissions(publish=(*_CHANGES_TO_RUNS, ANY_RUN_FOLLOWED), subscribe=_LIVE),
}
"""By the name of the service, which is the name of its NATS user."""
