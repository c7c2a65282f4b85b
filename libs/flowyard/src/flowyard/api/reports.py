"""The reports of the HTTP API, for programs: what calls cost, and where time went.

A time is one that `moments` reads: `7d`, a day, or a time with its zone. None is all that is kept.
"""

from __future__ import annotations

from uuid import UUID

from flowyard.api.costs import CostReport
from flowyard.api.profiles import ProfileReport, RunProfile
from flowyard.api.transport import Transport
from flowyard.runs.costs import Grouping


class Reports(Transport):
    """A part of the client."""

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
        """By the time at which calls ended."""
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
        """Of the newest finished runs, by the time at which they were made."""
        query = {"workflow": workflow, "since": since, "threshold": threshold, "limit": limit}
        return self.get(ProfileReport, "/v1/profiles", query)
