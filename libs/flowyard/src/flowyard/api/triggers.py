"""Shapes of the routes of triggers, deliveries and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowyard.api.pages import Page
from flowyard.api.runs import FailureView
from flowyard.language.triggers import EndStatus, Overlap, TriggerKind
from flowyard.runs.deliveries import Delivery, DeliveryDetail, Outcome
from flowyard.runs.run import Run, State
from flowyard.schedules.due import CatchUp
from flowyard.webhooks.senders import Sender

TriggerName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", examples=["opened"])
]


class ScheduleView(BaseModel):
    """When a schedule fires."""

    rule: Annotated[
        str, Field(description="As in the document: `0 7 * * 1-5`, or `every 900`", examples=["0 7 * * 1-5"])
    ]
    timezone: str
    words: Annotated[str, Field(examples=["At 07:00 on Monday through Friday (Europe/Berlin)"])]
    next: Annotated[
        list[datetime], Field(description="The next five fires, in its time zone; none while the trigger isn't active")
    ]


class ScheduleOptions(BaseModel):
    """What becomes of fires."""

    jitter_s: Annotated[float, Field(description="Each fire starts up to this much later")]
    overlap: Annotated[Overlap, Field(description="What a fire does while an earlier run is open")]
    catch_up: Annotated[CatchUp, Field(description="Which fires are started late after an outage")]
    window_s: Annotated[float, Field(description="What was missed by more than this is never started")]


class Backfill(BaseModel):
    """Fires that are to be started by hand: those from `from` to `to`, with both."""

    model_config = ConfigDict(extra="forbid")

    from_: Annotated[
        str,
        Field(
            alias="from",
            max_length=64,
            description="A day, or an instant; without an offset in the schedule's time zone",
            examples=["2026-11-01"],
        ),
    ]
    to: Annotated[
        str,
        Field(max_length=64, description="As `from`; of a day, all of it. Fires that are still to come aren't started"),
    ]


class Backfilled(BaseModel):
    """What a backfill has made. Fires that wait are started in their order, one after the other."""

    fires: Annotated[int, Field(description="Fires in this time")]
    added: Annotated[int, Field(description="Of these, such that weren't recorded before: they wait now")]
    again: Annotated[int, Field(description="Recorded before, without a run: they wait again")]
    kept: Annotated[int, Field(description="Left as they are, since they have a run, or wait")]


class TriggerView(BaseModel):
    """A trigger of a workflow's current revision."""

    workflow: str
    name: str
    kind: TriggerKind
    path: Annotated[str | None, Field(description="Of a webhook: its address is `/hooks/` and this")]
    subject: Annotated[str | None, Field(description="Of messages or requests of NATS")]
    follows: Annotated[str | None, Field(description="The workflow whose ends start runs")]
    revision: int
    state: Annotated[
        Literal["active", "paused", "disabled"], Field(description="`disabled`: its document has `enabled: false`")
    ]
    paused_at: datetime | None
    created_at: datetime
    schedule: ScheduleView | None = None


class TriggerPage(Page[TriggerView]):
    """Triggers, in the order of their workflows and names."""


class TriggerDetail(TriggerView):
    """A trigger, and what its document says."""

    description: str | None
    sender: Annotated[Sender | None, Field(description="Who sends it, which decides how it is verified")]
    secrets: Annotated[list[str], Field(description="References to what the sender signs with, or public keys")]
    verify_tokens: Annotated[list[str], Field(description="References to what Meta sends")]
    open: Annotated[bool, Field(description="Everybody may send")]
    when: str | None
    inputs: Annotated[list[str], Field(description="The inputs that it fills")]
    wait_s: float
    statuses: Annotated[list[EndStatus], Field(description="The ends that start runs, of the workflow that it follows")]
    options: Annotated[ScheduleOptions | None, Field(description="Of a schedule")] = None


class DeliveryView(BaseModel):
    """What came for a trigger, and what became of it."""

    id: UUID
    received_at: datetime
    workflow: str
    trigger: str
    outcome: Annotated[
        Outcome,
        Field(
            description="`repeated`: a copy of an earlier one; `unmatched`: `when` is false; `failed`: it can't become "
            "the inputs; `refused`: over a limit; `answered`: the sender only looks who is there; `waiting`: a "
            "fire that waits for the end of an earlier run; `skipped`: a fire that does not, or that was missed"
        ),
    ]
    reason: Annotated[str | None, Field(description="Why it has started nothing")]
    status: Annotated[int | None, Field(description="The status of the response")]
    run_id: Annotated[UUID | None, Field(description="Of a copy: the run of the first one")]
    replays: Annotated[UUID | None, Field(description="The delivery that was replayed")]
    sender_id: Annotated[str | None, Field(description="The sender's id, the same in each copy")]
    fire_at: Annotated[datetime | None, Field(description="The instant of a schedule's fire")] = None
    address: Annotated[str | None, Field(description="The client's address")]
    method: str | None
    body_size: Annotated[int, Field(description="In bytes")]
    digest: Annotated[str | None, Field(description="SHA-256 of the body; null: it wasn't read")]

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        return cls(**_facts(delivery))


class DeliveryPage(Page[DeliveryView]):
    """Deliveries, newest first."""


class DeliveryWhole(DeliveryView):
    """A delivery with what it carried. Secrets are masked."""

    query: dict[str, Any] | None
    headers: dict[str, Any] | None
    payload: Any
    has_payload: Annotated[bool, Field(description="false: it was too large to be kept, or not verified")]

    @classmethod
    def whole(cls, delivery: DeliveryDetail) -> DeliveryWhole:
        more = {name: getattr(delivery, name) for name in ("query", "headers", "payload", "has_payload")}
        return cls(**_facts(delivery), **more)


class HookResult(BaseModel):
    """What became of a delivery. The result of the run is there if the trigger waits for it, and it has ended."""

    delivery: UUID
    outcome: Outcome
    run_id: UUID | None = None
    status: State | None = None
    outputs: dict[str, Any] | None = None
    large_outputs: Annotated[
        dict[str, int] | None,
        Field(
            description="The bytes of outputs that are too large for a response: `/v1/runs/{run_id}/outputs` has them"
        ),
    ] = None
    error: FailureView | None = None

    def with_result(self, run: Run) -> HookResult:
        """With the status of its run, and the result if that has ended."""
        return self.model_copy(
            update={
                "status": run.status,
                "outputs": dict(run.outputs) if run.outputs is not None else None,
                "large_outputs": dict(run.large_outputs) or None,
                "error": FailureView.of(run.error) if run.error is not None else None,
            }
        )


class HookResults(BaseModel):
    """Of a request with several deliveries."""

    deliveries: list[HookResult]


def _facts(delivery: Delivery) -> dict[str, Any]:
    facts = {name: getattr(delivery, name) for name in DeliveryView.model_fields}
    return facts | {"digest": delivery.digest.hex() if delivery.digest is not None else None}
