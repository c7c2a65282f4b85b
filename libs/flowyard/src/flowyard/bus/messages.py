"""What travels over the bus. Unknown keys are ignored: services of two versions talk to each other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowyard.bus import subjects
from flowyard.runs.run import Entry

M = TypeVar("M", bound="BusMessage")
AgentId = Annotated[str, Field(pattern=subjects.NAME)]


class BusMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Announcement(BusMessage):
    """A message that is published to its own subject."""

    @property
    @abstractmethod
    def subject(self) -> str: ...


class WorkQueued(Announcement):
    """A run is queued. Which run an executor gets is decided by its claim."""

    @property
    def subject(self) -> str:
        return subjects.RUNS_QUEUED


class RunEvents(Announcement):
    """Events of a run, after their commit. A gap in `seq`: some were lost, and have to be read from the database."""

    run_id: UUID
    epoch: int
    entries: tuple[Entry, ...]

    @property
    def subject(self) -> str:
        return subjects.run_events(self.run_id)


class RunTokens(Announcement):
    """A piece of a model's reply, as it comes. A greater `epoch`: the step's text begins again."""

    run_id: UUID
    epoch: int
    node: str
    visit: int
    item: int | None = None
    text: str

    @property
    def subject(self) -> str:
        return subjects.run_tokens(self.run_id)


class RunControl(Announcement):
    run_id: UUID
    action: Literal["cancel"]

    @property
    def subject(self) -> str:
        return subjects.run_control(self.run_id)


class WorkflowChanged(Announcement):
    """A workflow was applied, rolled back or deleted. Executors prepare the models that it names."""

    name: str

    @property
    def subject(self) -> str:
        return subjects.WORKFLOWS_CHANGED


class KeyChanged(Announcement):
    """An API key was revoked: services drop it from their caches. `id` is no secret."""

    id: str

    @property
    def subject(self) -> str:
        return subjects.KEYS_CHANGED


class AgentRegistration(Announcement):
    """A request, answered with AgentReply. May be sent again."""

    id: AgentId
    name: str
    kind: Literal["executor", "http", "nats"]
    version: str
    host: str
    capabilities: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def subject(self) -> str:
        return subjects.AGENTS_REGISTER


class AgentHeartbeat(Announcement):
    """A request, answered with AgentReply."""

    id: AgentId
    slots: int
    slots_used: int

    @property
    def subject(self) -> str:
        return subjects.agent_heartbeat(self.id)


class AgentDeparture(Announcement):
    """The agent stops."""

    id: AgentId

    @property
    def subject(self) -> str:
        return subjects.agent_deregister(self.id)


class AgentReply(BusMessage):
    """The registry's answer. If the agent isn't `known`, it has to register again."""

    known: bool


def encode(message: BusMessage) -> bytes:
    """JSON. Raises ValueError for what JSON or UTF-8 can't hold."""
    return message.model_dump_json().encode()


def decode(kind: type[M], payload: bytes, *, subject: str | None = None) -> M:
    """Raises ValueError, which says where and what is wrong, and quotes nothing of the message."""
    try:
        message = kind.model_validate_json(payload)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        places = (f"{'.'.join(map(str, problem['loc'])) or 'message'}: {problem['type']}" for problem in problems[:3])
        raise ValueError("; ".join(places)) from None
    # NATS permits users by subject, so the ids in a message must be those of the subject that it came by.
    if subject is not None and isinstance(message, Announcement) and message.subject != subject:
        raise ValueError("it came by a subject that isn't its own")
    return message
