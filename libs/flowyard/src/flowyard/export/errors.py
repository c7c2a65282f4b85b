"""Why a target didn't accept a run."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError


class TargetUnavailable(FlowyardError, code="target_away", title="Export target unreachable"):
    """A target accepts no runs at the moment. `reason`: `unreachable`, `timeout` or `unavailable`.

    `nothing_sent`: the target can't have received anything of the run. `retry_after`: seconds, or None.
    """

    def __init__(
        self, target: str, why: str, *, reason: str, nothing_sent: bool, retry_after: float | None = None
    ) -> None:
        self.target = target
        self.why = why
        self.reason = reason
        self.nothing_sent = nothing_sent
        self.retry_after = retry_after
        super().__init__(f"{target} is not accepting runs: {why}")

    def after_sending(self) -> TargetUnavailable:
        """The same error for a run of which an earlier request was successful."""
        return TargetUnavailable(
            self.target, self.why, reason=self.reason, nothing_sent=False, retry_after=self.retry_after
        )


class ExportRefused(FlowyardError, code="export_refused", title="An export target refused a run"):
    """A target refused this run. Other runs may still be accepted."""

    def __init__(self, target: str, why: str) -> None:
        super().__init__(f"{target} refused a run: {why}")
