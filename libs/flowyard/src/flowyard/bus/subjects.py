"""All subjects, and which service may use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from flowyard.language.message_subjects import MESSAGES, REQUESTS

NAME: Final = r"^[A-Za-z0-9_-]{1,128}$"
"""A part of a subject, between two dots."""

RUNS_QUEUED: Final = "flowyard.runs.queued"
WORKFLOWS_CHANGED: Final = "flowyard.workflows.changed"
KEYS_CHANGED: Final = "flowyard.keys.changed"
MODELS_HELD: Final = "flowyard.models.held"
DRAFT_TESTS: Final = "flowyard.drafts.test"
CODE_RUN: Final = "flowyard.code.run"
CODE_STOP: Final = "flowyard.code.stop"
PROGRAM_RUN: Final = "flowyard.code.program"
SANDBOXES: Final = "flowyard.code.sandboxes"
ANY_SANDBOX: Final = "flowyard.code.*.follow"
"""The part that `*` stands for is the id of one process of a sandbox."""

# To subscribe to, for all runs.
ANY_RUN_EVENTS: Final = "flowyard.runs.*.events"
ANY_RUN_TOKENS: Final = "flowyard.runs.*.tokens"
ANY_RUN_CONTROL: Final = "flowyard.runs.*.control"
ANY_RUN_FOLLOWED: Final = "flowyard.runs.*.followed"

PUBLIC_EVENTS: Final = "flowyard.events.>"
"""All public events. Their subjects are `flowyard.events.<workflow>.<type>`, where a type is such as `run.failed`."""
EVENT_STREAM: Final = "EVENTS"
"""The name of the JetStream stream that keeps them."""
TRIGGER_STREAM: Final = "TRIGGERS"
"""The name of the JetStream stream of messages that start runs."""
_STREAM_API: Final = "$JS.API.STREAM"


def stream_api(verb: str, stream: str = EVENT_STREAM) -> str:
    """Where JetStream takes requests about a stream, usually that of public events. `verb`: such as `INFO`."""
    return f"{_STREAM_API}.{verb}.{stream}"


def public_event(workflow: str, kind: str) -> str:
    """A workflow's name may hold anything: what NATS doesn't take in a subject is percent-encoded, dots as well."""
    return f"flowyard.events.{_part(workflow)}.{kind}"


@lru_cache(maxsize=1024)
def _part(name: str) -> str:
    return quote(name, safe="", errors="replace").replace(".", "%2E")


def inbox(user: str | None) -> str:
    """The prefix of the subjects by which a NATS user gets answers. Its own: nobody else reads them."""
    return f"_INBOX_{user}" if user and re.fullmatch(NAME, user) else "_INBOX"


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
    """Subjects that a NATS user may use. Neither is ever empty: to NATS an empty list of subjects means all of them.

    `answers`: it may answer each request that it receives, once, within ANSWER_WITHIN.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False


ANSWER_WITHIN: Final = "6m"


_CHANGES_TO_RUNS: Final = (RUNS_QUEUED, ANY_RUN_EVENTS, ANY_RUN_CONTROL)
_STREAM_VERBS: Final = ("INFO", "CREATE", "UPDATE", "MSG.GET")
_LIVE: Final = (ANY_RUN_EVENTS, ANY_RUN_TOKENS)

PERMISSIONS: Final[Mapping[str, Permissions]] = {
    "registry": Permissions(
        publish=(
            WORKFLOWS_CHANGED,
            DRAFT_TESTS,
            *_CHANGES_TO_RUNS,
            PUBLIC_EVENTS,
            *map(stream_api, _STREAM_VERBS),
            *(stream_api(verb, TRIGGER_STREAM) for verb in _STREAM_VERBS),
            f"$JS.API.CONSUMER.LIST.{TRIGGER_STREAM}",
            *(f"$JS.API.CONSUMER.{verb}.{TRIGGER_STREAM}.>" for verb in ("CREATE", "INFO", "DELETE", "MSG.NEXT")),
            f"$JS.ACK.{TRIGGER_STREAM}.>",
        ),
        subscribe=(KEYS_CHANGED, WORKFLOWS_CHANGED, ANY_RUN_EVENTS, REQUESTS, f"{inbox('registry')}.>"),
        answers=True,
    ),
    "executor": Permissions(
        publish=(*_CHANGES_TO_RUNS, ANY_RUN_TOKENS, MODELS_HELD, CODE_RUN, CODE_STOP, ANY_SANDBOX, PROGRAM_RUN),
        subscribe=(
            RUNS_QUEUED,
            ANY_RUN_CONTROL,
            ANY_RUN_FOLLOWED,
            MODELS_HELD,
            WORKFLOWS_CHANGED,
            DRAFT_TESTS,
            f"{inbox('executor')}.>",
        ),
        answers=True,
    ),
    "gateway": Permissions(
        publish=(*_CHANGES_TO_RUNS, ANY_RUN_FOLLOWED, KEYS_CHANGED), subscribe=(*_LIVE, KEYS_CHANGED, SANDBOXES)
    ),
    "dashboard": Permissions(publish=(*_CHANGES_TO_RUNS, ANY_RUN_FOLLOWED), subscribe=_LIVE),
    # It answers executors, and can reach nothing else: no run, no event, no other service.
    "sandbox": Permissions(
        publish=(SANDBOXES,), subscribe=(CODE_RUN, CODE_STOP, ANY_SANDBOX, PROGRAM_RUN), answers=True
    ),
}
"""By the name of the service, which is the name of its NATS user."""

READER: Final = "reader"
"""The NATS user for programs that read public events."""
READER_PERMISSIONS: Final = Permissions(
    publish=(
        stream_api("INFO"),
        stream_api("MSG.GET"),
        "$JS.API.STREAM.NAMES",
        *(f"$JS.API.CONSUMER.{verb}.{EVENT_STREAM}.>" for verb in ("CREATE", "DURABLE.CREATE", "INFO", "MSG.NEXT")),
        f"$JS.ACK.{EVENT_STREAM}.>",
        f"$JS.FC.{EVENT_STREAM}.>",
    ),
    subscribe=(PUBLIC_EVENTS, f"{inbox(READER)}.>"),
)

SENDER: Final = "sender"
"""The NATS user for programs that send messages and requests that start runs."""
SENDER_PERMISSIONS: Final = Permissions(publish=(MESSAGES, REQUESTS), subscribe=(f"{inbox(SENDER)}.>",))
