"""Triggers: what starts runs of a workflow without a caller of the API. The kinds of them are a closed union."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowyard.language.nodes import SetValue
from flowyard.language.replies import Reply
from flowyard.language.values.expressions import Expression
from flowyard.language.values.rates import Rate
from flowyard.language.values.types import ANY, BOOL, DATE, DATETIME, INT, STR, DictOf, ObjectField, ObjectOf, Type
from flowyard.schedules.due import CatchUp
from flowyard.schedules.rules import Rule
from flowyard.webhooks.senders import Sender

TriggerKind: TypeAlias = Literal["webhook", "nats", "workflow", "schedule", "chat", "mcp"]
EndStatus: TypeAlias = Literal["succeeded", "failed", "cancelled"]
EVENT: Final[Mapping[str, Type]] = {"payload": ANY, "headers": DictOf(STR), "query": ANY}
"""What the texts of a webhook may name. Names of headers are in lower case."""
FIRE: Final[Mapping[str, Type]] = {
    "fire": ObjectOf(
        {
            "at": ObjectField(DATETIME),
            "previous": ObjectField(DATETIME),
            "local": ObjectField(DATETIME),
            "date": ObjectField(DATE),
            "number": ObjectField(INT),
            "backfill": ObjectField(BOOL),
        }
    )
}
"""What the texts of a schedule may name: see `fire_facts` in `schedules/facts.py`."""
REQUEST: Final[Mapping[str, Type]] = {"request": ANY, "headers": DictOf(STR)}
"""What the texts of a chat may name: the body of the request, and its headers by their names in lower case."""
Overlap: TypeAlias = Literal["skip", "queue", "cancel_previous", "allow"]
"""What a fire does while an earlier run of its schedule is open."""
Concurrent: TypeAlias = Literal["queue", "reject", "cancel_previous"]
"""What becomes of a message that comes while the last one of its conversation isn't answered."""
OnDisconnect: TypeAlias = Literal["finish", "cancel"]
Background: TypeAlias = Literal["answer", "refuse"]
"""What becomes of requests that a front end makes for itself: for titles, tags, follow-up questions."""
WAIT_S: Final = 30.0
"""How long `wait: true` waits, in seconds."""
TRIES: Final = 5
"""How often a message is tried before it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request to `/hooks/<path>` starts a run. `secrets`, `verify_tokens`: references, or public keys of Discord.

    `is_open`: nobody is verified. `wait_s`: how long the response waits for the end of the run; 0: it doesn't.
    `body_limit`: in bytes.
    """

    path: str
    sender: Sender = "generic"
    secrets: tuple[str, ...] = ()
    verify_tokens: tuple[str, ...] = ()
    is_open: bool = False
    wait_s: float = 0.0
    body_limit: int | None = None
    rate: Rate | None = None

    @property
    def kind(self) -> TriggerKind:
        return "webhook"


@dataclass(frozen=True, slots=True)
class OtherWorkflow:
    """Each run of the workflow `name` that ends with one of these statuses starts a run."""

    name: str
    ends: tuple[EndStatus, ...] = ("succeeded",)

    @property
    def kind(self) -> TriggerKind:
        return "workflow"


@dataclass(frozen=True, slots=True)
class Timed:
    """A run is started when the rule fires, up to `jitter_s` later. `window_s`: what was missed longer ago never is."""

    rule: Rule
    jitter_s: float = 0.0
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"
    window_s: float = 86_400.0

    @property
    def kind(self) -> TriggerKind:
        return "schedule"


@dataclass(frozen=True, slots=True)
class Messages:
    """Each message of a subject that a stream of NATS keeps starts a run. `subject`: perhaps with wildcards.

    `tries`: after so many that failed it is a dead letter. `only_by_id`: of messages without an id, none is a copy.
    `is_text`: they aren't JSON.
    """

    subject: str
    tries: int = TRIES
    only_by_id: bool = False
    is_text: bool = False

    @property
    def kind(self) -> TriggerKind:
        return "nats"


@dataclass(frozen=True, slots=True)
class Requests:
    """Each request to a subject of NATS starts a run, and is answered with its result if it ends within `wait_s`."""

    subject: str
    wait_s: float = WAIT_S
    is_text: bool = False

    @property
    def kind(self) -> TriggerKind:
        return "nats"


@dataclass(frozen=True, slots=True)
class Chat:
    """The workflow is a model to clients of OpenAI's API: each request starts a run.

    `messages`: the input that has the conversation. `answer`: the node whose reply is the answer; `output`: the field
    that it writes. `is_live`: the client gets the reply as it comes, since nothing can replace it afterwards.
    `is_last`: no node comes after the answer. `caller_tools`: the answering node's model gets the tools of the request.
    `show_steps`: the client sees what other nodes write, as reasoning.
    """

    messages: str
    answer: str
    output: str
    is_live: bool = True
    is_last: bool = True
    caller_tools: bool = False
    show_steps: bool = False
    concurrent: Concurrent = "queue"
    on_disconnect: OnDisconnect = "finish"
    background: Background = "answer"

    @property
    def kind(self) -> TriggerKind:
        return "chat"


@dataclass(frozen=True, slots=True)
class Mcp:
    """The workflow is a tool to clients of MCP: each call of it starts a run, with the call's arguments as inputs.

    `title`: the tool's name for people. `prompts`: the prompt nodes that clients get as prompts, in this order.
    `read_only`: a call changes nothing, so that clients needn't ask a person first.
    """

    title: str | None = None
    prompts: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def kind(self) -> TriggerKind:
        return "mcp"


Source: TypeAlias = Webhook | Messages | Requests | OtherWorkflow | Timed | Chat | Mcp
"""Where the events of a trigger come from."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """`inputs`: of the run, made from the event. `when`: None if each event starts a run.

    `reply`: what the chat gets that the event came from.
    """

    name: str
    source: Source
    inputs: Mapping[str, SetValue]
    when: Expression | None = None
    enabled: bool = True
    description: str | None = None
    reply: Reply | None = None
