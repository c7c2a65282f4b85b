"""The shape of `triggers`, key by key: a trigger has the key of its kind, and those that all kinds have."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Discriminator, Field, InstanceOf, Tag, WithJsonSchema

from flowyard.language.message_subjects import LONGEST
from flowyard.language.reading.keys import LONG, MOST_FIELDS, SHORT, LongestDelay, Seconds, Shape, as_list, exclusive
from flowyard.language.triggers import TRIES, Background, Concurrent, EndStatus, OnDisconnect, Overlap
from flowyard.language.values.rates import RATE, SIZE, Rate, read_rate, read_size
from flowyard.schedules.due import CatchUp
from flowyard.webhooks.senders import Sender

MOST_TRIGGERS: Final = 100
MOST_SECRETS: Final = 10
"""Of one webhook: while one replaces another, there are two."""
LARGEST_BODY: Final = 128 * 1024 * 1024
TRIGGER_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
HOOK_PATH: Final = r"[A-Za-z0-9_-][A-Za-z0-9._~-]*(/[A-Za-z0-9_-][A-Za-z0-9._~-]*)*"
LONGEST_PATH: Final = 200
LONGEST_REPLY: Final = 10_000
_REFERENCES: Final = {"type": "string", "minLength": 1}

References: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]],
    Field(min_length=1, max_length=MOST_SECRETS),
    BeforeValidator(as_list),
    WithJsonSchema(
        {"anyOf": [_REFERENCES, {"type": "array", "items": _REFERENCES, "minItems": 1, "maxItems": MOST_SECRETS}]}
    ),
]

EndStatuses: TypeAlias = Annotated[
    list[EndStatus],
    Field(min_length=1, max_length=3),
    BeforeValidator(as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(get_args(EndStatus))},
                {"type": "array", "items": {"enum": list(get_args(EndStatus))}, "minItems": 1, "maxItems": 3},
            ]
        }
    ),
]


def _form_of_wait(value: Any) -> str:
    return SHORT if isinstance(value, bool) else LONG


WaitForm: TypeAlias = Annotated[
    Annotated[bool, Tag(SHORT)] | Annotated[Seconds, Tag(LONG)], Discriminator(_form_of_wait)
]


def _form_of_reply(value: Any) -> str:
    return SHORT if isinstance(value, str) else LONG


_TEXT_OF_REPLY: Final = "A template over the run's outputs: '{answer}'."


class ReplyShape(Shape):
    """What is sent back to the chat that the event came from."""

    text: str = Field(min_length=1, max_length=LONGEST_REPLY, description=_TEXT_OF_REPLY)
    failed: str | None = Field(
        None, max_length=LONGEST_REPLY, description="A text for runs that don't succeed; '' sends nothing then."
    )
    token: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="A reference to the bot's token, ${env:NAME_BOT_TOKEN} or ${file:NAME}.",
    )


ReplyForm: TypeAlias = Annotated[
    Annotated[str, Field(min_length=1, max_length=LONGEST_REPLY, description=_TEXT_OF_REPLY), Tag(SHORT)]
    | Annotated[ReplyShape, Tag(LONG)],
    Discriminator(_form_of_reply),
]


class HookLimitsShape(Shape):
    body: (
        Annotated[
            int,
            BeforeValidator(read_size),
            Field(ge=1, le=LARGEST_BODY),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "integer", "minimum": 1, "maximum": LARGEST_BODY},
                        {"type": "string", "pattern": SIZE},
                    ]
                }
            ),
        ]
        | None
    ) = Field(None, description="Most bytes of a request's body: 256 kB, 1 MB, or a number of bytes.")
    rate: (
        Annotated[InstanceOf[Rate], BeforeValidator(read_rate), WithJsonSchema({"type": "string", "pattern": RATE})]
        | None
    ) = Field(None, description="Most requests in a time: 10/s, 300/min, 1000/h.")


class WebhookShape(Shape):
    """Requests to `/hooks/<path>` of the gateway."""

    path: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="The address after /hooks/, unique in an installation.",
        json_schema_extra={"pattern": f"^{HOOK_PATH}$"},
    )
    kind: Sender = Field("generic", description="Who sends it, which decides how it is verified.")
    secret: References | None = Field(
        None, description="What the sender signs with: ${env:NAME} or ${file:NAME}. Any of several may have signed."
    )
    public_key: References | None = Field(None, description="With kind discord: the public key of the application.")
    verify_token: References | None = Field(
        None, description="With kind whatsapp: what Meta sends when the address is set up, as a reference."
    )
    auth: Literal["none"] | None = Field(None, description="none: everybody may send. Only with kind generic.")
    wait: WaitForm | None = Field(
        None, description="The response has the run's result if it ends in time: true (30s), or a time up to 5m."
    )
    limits: HookLimitsShape | None = None


class NatsShape(Shape):
    """Messages of NATS: those that a stream keeps, or requests."""

    model_config = exclusive("subject", "request")

    subject: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST,
        description="Messages that a stream keeps until they have started their runs: flowyard.triggers.orders.*",
    )
    request: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST,
        description="Requests, which are answered with the result of their run: flowyard.requests.summary",
    )
    format: Literal["json", "text"] | None = Field(None, description="text: the payload is the text; json by default.")
    tries: int | None = Field(
        None, ge=1, le=100, description=f"With subject: after so many a message is a dead letter; {TRIES} by default."
    )
    deduplicate: Literal["content", "id"] | None = Field(
        None,
        description="With subject: id: messages without Nats-Msg-Id are no copies, even if their content is the same.",
    )
    wait: Seconds | None = Field(
        None, description="With request: how long it waits for the end of its run: up to 5m; 30s by default."
    )


class OtherWorkflowShape(Shape):
    """The ends of another workflow's runs."""

    name: str = Field(min_length=1, max_length=128, description="Of the other workflow.")
    status: EndStatuses | None = Field(
        None, description="The ends that start a run: succeeded (default), failed, cancelled, or a list of these."
    )


class ScheduleShape(Shape):
    """A run is started at certain times."""

    model_config = exclusive("cron", "every")

    cron: str | None = Field(
        None, description="minute, hour, day of month, month, day of week: 0 7 * * 1-5; or @hourly, @daily, @weekly …"
    )
    every: Seconds | None = Field(None, description="Fires at the multiples of this time since 1970 in UTC: 15m, 1h.")
    timezone: str | None = Field(None, description="With cron: a name such as Europe/Berlin. Default: UTC.")
    jitter: LongestDelay | None = Field(
        None, description="Each fire starts up to this much later, always before the next one."
    )
    overlap: Overlap = Field(
        "skip",
        description="While an earlier run of it is open: skip the fire, queue it, cancel_previous, or allow both.",
    )
    catch_up: CatchUp = Field("last", description="Which fires are started late after an outage: none, last, all.")
    window: Seconds | None = Field(None, description="What was missed by more than this is never started: 1d.")


class ChatShape(Shape):
    """Clients of OpenAI's chat API: the workflow is a model, which has its name."""

    messages: str | None = Field(
        None, description="The input of type list[message] that has the conversation. Default: the only one."
    )
    answer: str | None = Field(
        None, description="The prompt node whose reply is the answer. Default: the only one that can be it."
    )
    stream: Literal["tokens", "whole"] = Field(
        "tokens", description="whole: streams get the answer at once, when the run has ended."
    )
    caller_tools: bool = Field(
        default=False, description="true: the model of the answering node gets the tools of the request."
    )
    show_steps: bool = Field(
        default=False, description="true: what other nodes write is shown to the client, as reasoning_content."
    )
    concurrent: Concurrent = Field(
        "queue",
        description="A message that comes before the last one of its conversation is answered waits for that (queue), "
        "is answered 409 (reject), or ends it (cancel_previous).",
    )
    on_disconnect: OnDisconnect = Field(
        "finish", description="When the client closes the connection, its run goes on, or is cancelled (cancel)."
    )
    background: Background = Field(
        "answer",
        description="Requests of front ends for titles, tags and the like: a run of their own, or 400 (refuse).",
    )


class McpShape(Shape):
    """Clients of MCP: the workflow is a tool, which has its name and its inputs."""

    title: str | None = Field(None, min_length=1, max_length=200, description="The tool's name for people.")
    prompts: list[str] | None = Field(
        None, min_length=1, max_length=100, description="Prompt nodes that clients get as prompts, by their ids."
    )
    read_only: bool = Field(
        default=False, description="true: a call changes nothing, so that clients needn't ask a person first."
    )


class TriggerShape(Shape):
    model_config = exclusive("webhook", "nats", "workflow", "schedule", "chat", "mcp")

    webhook: WebhookShape | None = None
    nats: NatsShape | None = None
    workflow: OtherWorkflowShape | None = None
    schedule: ScheduleShape | None = None
    chat: ChatShape | None = None
    mcp: McpShape | None = None
    when: str | None = Field(
        None,
        min_length=1,
        description="An expression over payload, headers and query, or fire; a run is started if it is true.",
    )
    inputs: dict[str, Any] | None = Field(
        None,
        max_length=MOST_FIELDS,
        description="Inputs of the run: templates over the same names, {expr: …}, or plain values.",
    )
    reply: ReplyForm | None = Field(
        None, description="What is sent back to the chat: a template over the run's outputs, or a mapping."
    )
    enabled: bool = Field(default=True, description="false: it starts nothing, and keeps its address.")
    description: str | None = None
