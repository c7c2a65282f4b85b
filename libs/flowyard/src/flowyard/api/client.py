"""A client of the HTTP API: one method per route of the gateway.

Each method may raise Unreachable, Unintelligible, and Refused with the gateway's error code; InvalidInputs and
InvalidDocument contain every problem.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from flowyard.api.agents import AgentInfo, AgentPage
from flowyard.api.audit import MOST_ROWS, AuditEntry, AuditPage
from flowyard.api.chat import SessionChange, SessionPage, SessionView, TurnPage, TurnView
from flowyard.api.costs import CostReport
from flowyard.api.drafts import DraftRequest, DraftView
from flowyard.api.following import StreamItem, follow_run
from flowyard.api.history import CallList, CallView, EventPage, EventView, StepList, StepView
from flowyard.api.keys import KeyList, KeyRequest, KeyView, NewKeyView, RotateRequest
from flowyard.api.notifications import NotificationPage, NotificationView, ReceiverPage, ReceiverView, Replayed
from flowyard.api.profiles import ProfileReport, RunProfile
from flowyard.api.refusals import refusal
from flowyard.api.runs import (
    CancelledRuns,
    CancelRequest,
    ForkPreview,
    ForkRequest,
    RunListItem,
    RunPage,
    RunRequest,
    RunView,
)
from flowyard.api.status import HealthView, StatusView
from flowyard.api.transport import Transport
from flowyard.api.triggers import (
    Backfill,
    Backfilled,
    DeliveryPage,
    DeliveryView,
    DeliveryWhole,
    HookResult,
    TriggerDetail,
    TriggerPage,
    TriggerView,
)
from flowyard.api.workflows import (
    Applied,
    Deleted,
    Difference,
    RevisionDetail,
    RevisionPage,
    RevisionSummary,
    Rollback,
    Validated,
    WorkflowDetail,
    WorkflowPage,
    WorkflowSummary,
)
from flowyard.errors.base import FlowyardError
from flowyard.runs.costs import Grouping
from flowyard.runs.deliveries import Outcome
from flowyard.runs.events import StepId
from flowyard.runs.notifications import NotificationState
from flowyard.runs.run import State

_YAML: Final = {"content-type": "application/yaml"}
_PAGE_EVENTS: Final = 1000
# How long a response may take in addition to the requested wait.
_CHATS: Final = "/v1/chat/sessions"
_EXTRA_WAIT_S: Final = 30.0


class Client(Transport):
    """Connections to one Flowyard, with an API key.

    `since` and `until` are texts that `moments` reads: `7d`, a day, or a time with its zone. None: all that is kept.
    """

    def triggers(self, *, workflow: str | None = None, most: int | None = None) -> Iterator[TriggerView]:
        return self.pages(TriggerPage, "/v1/triggers", {"workflow": workflow}, most=most)

    def trigger(self, workflow: str, name: str) -> TriggerDetail:
        return self.get(TriggerDetail, _trigger(workflow, name))

    def backfill(self, workflow: str, name: str, *, begin: str, end: str) -> Backfilled:
        """`begin`, `end`: days or instants, both included."""
        body = Backfill.model_validate({"from": begin, "to": end})
        return self.request(Backfilled, "POST", f"{_trigger(workflow, name)}/backfill", body=body, repeatable=True)

    def pause_trigger(self, workflow: str, name: str, *, paused: bool) -> TriggerView:
        action = "pause" if paused else "resume"
        return self.request(TriggerView, "POST", f"{_trigger(workflow, name)}/{action}", repeatable=True)

    def deliveries(
        self,
        *,
        workflow: str | None = None,
        trigger: str | None = None,
        outcome: Outcome | None = None,
        run_id: UUID | None = None,
        most: int | None = None,
    ) -> Iterator[DeliveryView]:
        """Newest first."""
        query = {"workflow": workflow, "trigger": trigger, "outcome": outcome, "run_id": run_id}
        return self.pages(DeliveryPage, "/v1/deliveries", query, most=most)

    def delivery(self, delivery_id: UUID) -> DeliveryWhole:
        return self.get(DeliveryWhole, f"/v1/deliveries/{delivery_id}")

    def replay_delivery(self, delivery_id: UUID) -> HookResult:
        return self.request(HookResult, "POST", f"/v1/deliveries/{delivery_id}/replay")

    def validate(self, document: bytes) -> Validated:
        return self.request(Validated, "POST", "/v1/validate", body=document, headers=_YAML, repeatable=True)

    def draft(self, request: DraftRequest) -> DraftView:
        return self.request(DraftView, "POST", "/v1/drafts", body=request, repeatable=True)

    def apply(self, name: str, document: bytes) -> Applied:
        return self.request(Applied, "PUT", _workflow(name), body=document, headers=_YAML)

    def workflows(self, *, search: str | None = None, most: int | None = None) -> Iterator[WorkflowSummary]:
        return self.pages(WorkflowPage, "/v1/workflows", {"search": search}, most=most)

    def workflow(self, name: str) -> WorkflowDetail:
        return self.get(WorkflowDetail, _workflow(name))

    def revisions(self, name: str, *, most: int | None = None) -> Iterator[RevisionSummary]:
        return self.pages(RevisionPage, f"{_workflow(name)}/revisions", {}, most=most)

    def revision(self, name: str, number: int) -> RevisionDetail:
        return self.get(RevisionDetail, f"{_workflow(name)}/revisions/{number}")

    def difference(self, name: str, *, older: int | None = None, newer: int | None = None) -> Difference:
        return self.get(Difference, f"{_workflow(name)}/diff", {"from": older, "to": newer})

    def roll_back(self, name: str, number: int) -> Applied:
        return self.request(Applied, "POST", f"{_workflow(name)}/rollback", body=Rollback(revision=number))

    def delete_workflow(self, name: str, *, force: bool = False) -> Deleted:
        return self.request(Deleted, "DELETE", _workflow(name), {"force": force})

    def submit(self, name: str, request: RunRequest, *, once: str | None = None, wait_s: float = 0) -> RunView:
        """Returns the run when it has ended, or as it is after `wait_s` seconds.

        `once`: the Idempotency-Key; by default a random one, so that sending the request again makes no second run.
        """
        path, query = f"{_workflow(name)}/runs", {"wait": wait_s or None}
        sending: Any = {"headers": _once(once), "timeout_s": wait_s + _EXTRA_WAIT_S, "repeatable": True}
        return self.request(RunView, "POST", path, query, request, **sending)

    def run(self, run_id: UUID) -> RunView:
        """Without its large outputs, but with their sizes: `outputs_of` gets these, too."""
        return self.get(RunView, _run(run_id))

    def whole_run(self, run_id: UUID) -> RunView:
        """With its large outputs."""
        run = self.run(run_id)
        outputs = self.outputs_of(run_id, run.outputs or {}, run.large_outputs) if run.outputs is not None else None
        return run.model_copy(update={"outputs": outputs, "large_outputs": {}})

    def outputs_of(
        self, run_id: UUID, outputs: Mapping[str, Any], large: Iterable[str], step: StepId | None = None
    ) -> dict[str, Any]:
        """The outputs of a run, or of a step, with those that are `large`, which aren't in an answer or an event."""
        path = f"{_run(run_id)}/outputs"
        return {**outputs, **{name: self.value(path, {"name": name, **_whose(step)}) for name in large}}

    def runs(
        self,
        *,
        workflow: str | None = None,
        status: Collection[State] = (),
        before: UUID | None = None,
        most: int | None = None,
    ) -> Iterator[RunListItem]:
        """Newest first. `before`: only runs with smaller ids, which are older."""
        query = {"workflow": workflow, "status": list(status) or None, "cursor": before}
        return self.pages(RunPage, "/v1/runs", query, most=most)

    def events(self, run_id: UUID, *, after: int = 0) -> Iterator[EventView]:
        """The events until now, those after number `after`."""
        while (page := self.get(EventPage, f"{_run(run_id)}/events", {"after": after, "limit": _PAGE_EVENTS})).items:
            yield from page.items
            after = page.next_after

    def follow(
        self,
        run_id: UUID,
        *,
        after: int = 0,
        tokens: bool = True,
        on_break: Callable[[FlowyardError], None] = lambda _: None,
    ) -> Iterator[StreamItem]:
        """Follows the run as `follow_run` does."""
        return follow_run(self, run_id, after=after, tokens=tokens, on_break=on_break)

    def steps(self, run_id: UUID) -> list[StepView]:
        """Without outputs that are large, or too many."""
        return self.get(StepList, f"{_run(run_id)}/steps").items

    def whole_steps(self, run_id: UUID) -> list[StepView]:
        """With all outputs."""
        return [self._whole_step(run_id, step) for step in self.steps(run_id)]

    def _whole_step(self, run_id: UUID, step: StepView) -> StepView:
        if step.outputs_bytes is None:
            return step
        whose = _whose(StepId(step.node, step.visit, step.item))
        outputs = self.value(f"{_run(run_id)}/outputs", whose)
        return step.model_copy(update={"outputs": outputs, "outputs_bytes": None})

    def calls(self, run_id: UUID, *, texts: bool = False) -> list[CallView]:
        """`texts`: whether to return prompts and replies, if they are kept."""
        calls: dict[int, CallView] = {}
        after: int | None = 0
        while after is not None:
            page = self.get(CallList, f"{_run(run_id)}/calls", {"after": after, "texts": str(texts).lower()})
            calls |= {call.seq: call for call in page.items}
            after = page.texts_after
        return list(calls.values())

    def cancel(self, run_id: UUID) -> RunView:
        """Returns the run: cancelled, or still open until its executor has cancelled it."""
        return self.request(RunView, "POST", f"{_run(run_id)}/cancel")

    def cancel_many(self, request: CancelRequest) -> CancelledRuns:
        return self.request(CancelledRuns, "POST", "/v1/runs/cancel", body=request)

    def retry(self, run_id: UUID) -> RunView:
        return self.request(RunView, "POST", f"{_run(run_id)}/retry")

    def fork(self, run_id: UUID, request: ForkRequest, *, once: str | None = None) -> RunView:
        """`once`: as for `submit`."""
        return self.request(RunView, "POST", f"{_run(run_id)}/fork", body=request, headers=_once(once), repeatable=True)

    def preview_fork(self, run_id: UUID, request: ForkRequest) -> ForkPreview:
        """What a fork without `from` would keep, and where it would leave its origin."""
        return self.request(ForkPreview, "POST", f"{_run(run_id)}/fork/preview", body=request, repeatable=True)

    def costs(
        self,
        *,
        by: Grouping = "model",
        since: str | None = None,
        until: str | None = None,
        workflow: str | None = None,
        run_id: UUID | None = None,
        limit: int | None = None,
    ) -> CostReport:
        """Sums over the calls that ended from `since` on and before `until`."""
        query = {"by": by, "since": since, "until": until, "workflow": workflow, "run_id": run_id, "limit": limit}
        return self.get(CostReport, "/v1/costs", query)

    def profile(self, run_id: UUID, *, threshold: float | None = None) -> RunProfile:
        return self.get(RunProfile, f"/v1/runs/{run_id}/profile", {"threshold": threshold})

    def profiles(
        self,
        *,
        workflow: str | None = None,
        since: str | None = None,
        threshold: float | None = None,
        limit: int | None = None,
    ) -> ProfileReport:
        """Where the time of the newest finished runs went that were submitted from `since` on."""
        query = {"workflow": workflow, "since": since, "threshold": threshold, "limit": limit}
        return self.get(ProfileReport, "/v1/profiles", query)

    def agents(self) -> Iterator[AgentInfo]:
        return self.pages(AgentPage, "/v1/agents", {})

    def notifications(
        self,
        *,
        receiver: str | None = None,
        run_id: UUID | None = None,
        state: NotificationState | None = None,
        most: int | None = None,
    ) -> Iterator[NotificationView]:
        """Of the newest runs first."""
        query = {"receiver": receiver, "run": run_id, "state": state}
        return self.pages(NotificationPage, "/v1/notifications", query, most=most)

    def notification(self, notification: str) -> NotificationView:
        return self.get(NotificationView, _notification(notification))

    def replay_notification(self, notification: str) -> NotificationView:
        return self.request(NotificationView, "POST", f"{_notification(notification)}/replay")

    def receivers(self) -> Iterator[ReceiverView]:
        return self.pages(ReceiverPage, "/v1/receivers", {})

    def receiver(self, receiver: str) -> ReceiverView:
        return self.get(ReceiverView, _receiver(receiver))

    def enable_receiver(self, receiver: str) -> ReceiverView:
        return self.request(ReceiverView, "POST", f"{_receiver(receiver)}/enable")

    def replay_receiver(self, receiver: str) -> Replayed:
        """All that has failed."""
        return self.request(Replayed, "POST", f"{_receiver(receiver)}/replay")

    def create_key(self, request: KeyRequest) -> NewKeyView:
        return self.request(NewKeyView, "POST", "/v1/keys", body=request)

    def rotate_key(self, key_id: str, request: RotateRequest) -> NewKeyView:
        return self.request(NewKeyView, "POST", f"/v1/keys/{_segment(key_id)}/rotate", body=request)

    def audit(
        self,
        *,
        act: str | None = None,
        key: str | None = None,
        workflow: str | None = None,
        object_id: str | None = None,
        since: str | None = None,
        until: str | None = None,
        oldest_first: bool = False,
        most: int | None = None,
    ) -> Iterator[AuditEntry]:
        """Rows of the audit log, the newest first unless `oldest_first`."""
        query = {"act": act, "key": key, "workflow": workflow, "object": object_id, "since": since, "until": until}
        left, cursor = most, None
        while left is None or left > 0:
            limit = MOST_ROWS if left is None else min(left, MOST_ROWS)
            place = {"order": "oldest" if oldest_first else "newest", "cursor": cursor, "limit": limit}
            page = self.get(AuditPage, "/v1/audit", {**query, **place})
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return
            left = left - len(page.items) if left is not None else None

    def chat_sessions(self, *, workflow: str | None = None, most: int | None = None) -> Iterator[SessionView]:
        """Those of this key, the newest first."""
        return self.pages(SessionPage, _CHATS, {"workflow": workflow}, most=most)

    def chat_turns(self, session_id: UUID) -> Iterator[TurnView]:
        return self.pages(TurnPage, f"{_CHATS}/{session_id}/turns", {})

    def rename_chat_session(self, session_id: UUID, title: str | None) -> SessionView:
        return self.request(SessionView, "PATCH", f"{_CHATS}/{session_id}", {}, SessionChange(title=title))

    def delete_chat_session(self, session_id: UUID) -> SessionView:
        return self.request(SessionView, "DELETE", f"{_CHATS}/{session_id}")

    def keys(self) -> list[KeyView]:
        return self.get(KeyList, "/v1/keys").items

    def revoke_key(self, key_id: str) -> KeyView:
        return self.request(KeyView, "DELETE", f"/v1/keys/{_segment(key_id)}")

    def status(self) -> StatusView:
        return self.get(StatusView, "/v1/status")

    def health(self) -> HealthView:
        """The gateway's own health. An unhealthy gateway isn't an error."""
        response = self.send(self.http.build_request("GET", "/health/ready"), repeatable=False)
        if response.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
            raise refusal(self.url, response)
        return self.decode(HealthView, response.content)


def _workflow(name: str) -> str:
    return f"/v1/workflows/{_segment(name)}"


def _trigger(workflow: str, name: str) -> str:
    return f"/v1/triggers/{quote(workflow, safe='')}/{quote(name, safe='')}"


def _notification(notification: str) -> str:
    return f"/v1/notifications/{_segment(notification)}"


def _receiver(receiver: str) -> str:
    return f"/v1/receivers/{_segment(receiver)}"


def _run(run_id: UUID) -> str:
    return f"/v1/runs/{run_id}"


def _whose(step: StepId | None) -> dict[str, Any]:
    """The query for the outputs of a step."""
    return {} if step is None else {"node": step.node, "visit": step.visit, "item": step.item}


def _segment(name: str) -> str:
    """One segment of a path. The names `.` and `..` are escaped, so that they don't lead to another path."""
    return "%2E" * len(name) if name in (".", "..") else quote(name, safe="")


def _once(key: str | None) -> dict[str, Any]:
    return {"idempotency-key": key if key is not None else str(uuid4())}
