"""The part of the client that gets reports: what calls cost, and how runs spent their time.

`since` and `until` are texts that `moments` reads: `7d`, a day, or a time with its zone. None: all that is kept.
"""

from __future__ import annotations

from uuid import UUID

from flowyard.api.costs import CostReport
from flowyard.api.profiles import ProfileReport, RunProfile
from flowyard.api.transport import Transport
from flowyard.runs.costs import Grouping


class Reports(Transport):
    """The routes of reports."""

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
        """Of the newest finished runs that were submitted from `since` on."""
        query = {"workflow": workflow, "since": since, "threshold": threshold, "limit": limit}
        return self.get(ProfileReport, "/v1/profiles", query)
