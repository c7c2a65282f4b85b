"""The messages of the bus. Unknown keys are ignored, because services of two versions may run together."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowyard.bus import subjects

M = TypeVar("M", bound="BusMessage")


class BusMessage(BaseModel):
    """`bodies`: fields with long texts. They travel behind the JSON as they are: in it, each quote would be escaped."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bodies: ClassVar[tuple[str, ...]] = ()


class Announcement(BusMessage):
    """A message that is published to its own subject: `pattern`, with the field `id_field` instead of `*`."""

    pattern: ClassVar[str]
    id_field: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        return subjects.fill(self.pattern, str(getattr(self, self.id_field))) if self.id_field else self.pattern


class WorkQueued(Announcement):
    """A run is queued. Which run an executor gets is decided by its claim."""

    pattern: ClassVar = subjects.RUNS_QUEUED


class RunEvents(Announcement):
    """A run has new events: they are in Postgres. `last_seq`: the number of the last one.

    `has_moved`: whether the run's status has changed. Of the others, executors announce only those of followed runs.
    """

    pattern: ClassVar = subjects.ANY_RUN_EVENTS
    id_field: ClassVar = "run_id"

    run_id: UUID
    last_seq: int
    has_moved: bool


class RunTokens(Announcement):
    """A piece of a model's reply, as it comes. A greater `epoch` or `call`: the step's text begins again.

    `offset`: of its first character, in the text of this call. None: from an executor of an earlier version.
    """

    pattern: ClassVar = subjects.ANY_RUN_TOKENS
    id_field: ClassVar = "run_id"

    run_id: UUID
    epoch: int
    node: str
    visit: int
    item: int | None = None
    call: int = 0
    offset: int | None = None
    text: str


class ModelHeld(Announcement):
    """A provider answered 429. `place`: the model, the key and the address; `wait_s`: seconds without calls."""

    pattern: ClassVar = subjects.MODELS_HELD

    place: str
    wait_s: Annotated[float, Field(ge=0)]


class RunFollowed(Announcement):
    """Somebody reads a run's events as they come. Published again and again, since it holds for a while only.

    `tokens`: and what its models reply, word by word. `from_start`: also the texts so far of the calls at work.
    """

    pattern: ClassVar = subjects.ANY_RUN_FOLLOWED
    id_field: ClassVar = "run_id"

    run_id: UUID
    tokens: bool = True
    from_start: bool = False


class RunControl(Announcement):
    pattern: ClassVar = subjects.ANY_RUN_CONTROL
    id_field: ClassVar = "run_id"

    run_id: UUID
    action: Literal["cancel"]


class WorkflowChanged(Announcement):
    """A workflow was applied, rolled back or deleted. Executors prepare the models that it names."""

    pattern: ClassVar = subjects.WORKFLOWS_CHANGED

    name: str


class DraftTests(Announcement):
    """A request: the tests of a document that nobody has applied yet are to be run. An executor answers."""

    pattern: ClassVar = subjects.DRAFT_TESTS

    document: str


class DraftTestResults(BusMessage):
    """The answer. `faults`: of each test that was run, in their order; None: the executor refuses the document."""

    faults: list[list[str]] | None


class KeyChanged(Announcement):
    """An API key was revoked or rotated: services drop it from their caches. `id` is no secret."""

    pattern: ClassVar = subjects.KEYS_CHANGED

    id: str


def encode(message: BusMessage) -> bytes:
    """JSON. With `bodies`, a line with their lengths, a line of JSON, and then they.

    Raises ValueError for what JSON or UTF-8 can't hold.
    """
    if not message.bodies:
        return message.model_dump_json().encode()
    texts = [str(getattr(message, name)).encode() for name in message.bodies]
    head = message.model_dump_json(exclude=set(message.bodies)).encode()
    return b"\n".join([json.dumps([len(text) for text in texts]).encode(), head, b"".join(texts)])


def decode(kind: type[M], payload: bytes, *, subject: str | None = None) -> M:
    """Raises ValueError, which says where and what is wrong, and quotes nothing of the message."""
    try:
        message = kind.model_validate(_with_bodies(kind, payload)) if kind.bodies else kind.model_validate_json(payload)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        places = (f"{'.'.join(map(str, problem['loc'])) or 'message'}: {problem['type']}" for problem in problems[:3])
        raise ValueError("; ".join(places)) from None
    # NATS permits users by subject, so the ids in a message must be those of the subject that it came by.
    if subject is not None and isinstance(message, Announcement) and message.subject != subject:
        raise ValueError("it came by a subject that isn't its own")
    return message


def _with_bodies(kind: type[BusMessage], payload: bytes) -> dict[str, Any]:
    try:
        lengths, head, rest = payload.split(b"\n", 2)
        sizes, values = json.loads(lengths), json.loads(head)
        for name, size in zip(kind.bodies, sizes, strict=True):
            values[name], rest = rest[: int(size)].decode(), rest[int(size) :]
    except (ValueError, TypeError, RecursionError):
        raise ValueError("it isn't as a message with texts behind its JSON") from None
    if rest or not isinstance(values, dict):
        raise ValueError("its lengths are wrong")
    return values
