"""The HTTP API, as a program calls it: one method per route of the gateway.

What goes wrong is raised as an error: Unreachable, Unintelligible, or Refused with the code that the
gateway gave; InvalidInputs and InvalidDocument come with every fault.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from flowyard.access import Scope
from flowyard.api.agents import AgentInfo, AgentPage
from flowyard.api.following import LiveItem, follow_run
from flowyard.api.health import HealthView
from flowyard.api.history import CallList, CallView, EventPage, EventView, StepList, StepView
from flowyard.api.keys import KeyList, KeyRequest, KeyView, NewKeyView
from flowyard.api.refusals import refusal
from flowyard.api.reports import Reports
from flowyard.api.runs import (
    CancelledRuns,
    CancelRequest,
    ForkRequest,
    RunListItem,
    RunPage,
    RunRequest,
    RunView,
)
from flowyard.api.status import StatusView
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
from flowyard.runs.run import State

_YAML: Final = {"content-type": "application/yaml"}
_EVENTS: Final = 1000
# Seconds that an answer may take in addition to the requested wait.
_SLACK_S: Final = 30.0


class Client(Reports):
    """A Flowyard, as somebody sees it who has an API key."""

    def validate(self, document: bytes) -> Validated:
        return self.request(Validated, "POST", "/v1/validate", body=document, headers=_YAML, again=True)

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
        """The run, when it has ended, or after `wait_s` as it is then. `once`: the Idempotency-Key.

        It has one in any case, so that a request whose answer was lost leads to no second run.
        """
        return self.request(
            RunView,
            "POST",
            f"{_workflow(name)}/runs",
            {"wait": wait_s or None},
            request,
            headers=_once(once),
            timeout_s=wait_s + _SLACK_S,
            again=True,
        )

    def run(self, run_id: UUID) -> RunView:
        return self.get(RunView, _run(run_id))

    def runs(
        self,
        *,
        workflow: str | None = None,
        status: Collection[State] = (),
        before: UUID | None = None,
        most: int | None = None,
    ) -> Iterator[RunListItem]:
        """Newest first. `before`: only those with a smaller id, which are older."""
        query = {"workflow": workflow, "status": list(status) or None, "cursor": before}
        return self.pages(RunPage, "/v1/runs", query, most=most)

    def events(self, run_id: UUID, *, after: int = 0) -> Iterator[EventView]:
        """Those that have happened by now."""
        while (page := self.get(EventPage, f"{_run(run_id)}/events", {"after": after, "limit": _EVENTS})).items:
            yield from page.items
            after = page.next_after

    def follow(
        self, run_id: UUID, *, after: int = 0, on_break: Callable[[FlowyardError], None] = lambda _: None
    ) -> Iterator[LiveItem]:
        """As `follow_run`."""
        return follow_run(self, run_id, after=after, on_break=on_break)

    def steps(self, run_id: UUID) -> list[StepView]:
        return self.get(StepList, f"{_run(run_id)}/steps").items

    def calls(self, run_id: UUID) -> list[CallView]:
        return self.get(CallList, f"{_run(run_id)}/calls").items

    def cancel(self, run_id: UUID) -> RunView:
        """Cancelled, or still open: then its executor ends it, within a moment."""
        return self.request(RunView, "POST", f"{_run(run_id)}/cancel")

    def cancel_many(self, request: CancelRequest) -> CancelledRuns:
        return self.request(CancelledRuns, "POST", "/v1/runs/cancel", body=request)

    def retry(self, run_id: UUID) -> RunView:
        return self.request(RunView, "POST", f"{_run(run_id)}/retry")

    def fork(self, run_id: UUID, request: ForkRequest, *, once: str | None = None) -> RunView:
        """`once`: as for `submit`."""
        return self.request(RunView, "POST", f"{_run(run_id)}/fork", body=request, headers=_once(once), again=True)

    def agents(self, *, most: int | None = None) -> Iterator[AgentInfo]:
        return self.pages(AgentPage, "/v1/agents", {}, most=most)

    def create_key(self, name: str, scopes: Collection[Scope]) -> NewKeyView:
        return self.request(NewKeyView, "POST", "/v1/keys", body=KeyRequest(name=name, scopes=list(scopes)))

    def keys(self) -> list[KeyView]:
        return self.get(KeyList, "/v1/keys").items

    def revoke_key(self, key_id: str) -> KeyView:
        return self.request(KeyView, "DELETE", f"/v1/keys/{_part(key_id)}")

    def status(self) -> StatusView:
        return self.get(StatusView, "/v1/status")

    def health(self) -> HealthView:
        """The gateway's own, also if it isn't well."""
        response = self.send(self.http.build_request("GET", "/health/ready"), again=False)
        if response.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
            raise refusal(self.url, response)
        return self.read(HealthView, response.content)


def _workflow(name: str) -> str:
    return f"/v1/workflows/{_part(name)}"


def _run(run_id: UUID) -> str:
    return f"/v1/runs/{run_id}"


def _part(name: str) -> str:
    """Of a path. A name of dots is a name, and leads nowhere."""
    return "%2E" * len(name) if name in (".", "..") else quote(name, safe="")


def _once(key: str | None) -> dict[str, Any]:
    return {"idempotency-key": key if key is not None else str(uuid4())}
