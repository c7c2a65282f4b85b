"""Notifications of attempts, for code that publishes, counts and logs them."""

from __future__ import annotations

from collections.abc import Sequence

from flowyard.errors.steps import BudgetExceeded
from flowyard.runs.claim import Claim
from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import ModelCalled, RunFinished, Token


class Observer:
    """Called by attempts as things happen. Each method returns at once; here it does nothing."""

    def started(self, claim: Claim) -> None:
        pass

    def replayed(self, claim: Claim, rows: int) -> None:
        """The run was replayed from this number of rows of its steps."""

    def mismatched(self, claim: Claim) -> None:
        """The run's recorded steps don't fit its workflow: it is about to fail."""

    def committed(self, claim: Claim, events: Sequence[StoredEvent]) -> None:
        """`events` are durable."""

    def token(self, claim: Claim, token: Token) -> None:
        pass

    def budget_refused(self, claim: Claim, error: BudgetExceeded) -> None:
        pass

    def handed_back(self, claim: Claim, *, waits: bool) -> None:
        """`waits`: the run isn't queued yet, because a step waits for its next try."""

    def finished(self, claim: Claim, end: RunFinished) -> None:
        pass

    def calls_lost(self, claim: Claim, calls: Sequence[ModelCalled]) -> None:
        """Calls were added to the ledger after their claim was lost: nothing of them had been written before.

        They have no events.
        """

    def fenced(self, claim: Claim) -> None:
        """A commit was refused, because the claim is lost: nothing of it was written."""

    def abandoned(self, claim: Claim) -> None:
        """The attempt has stopped because its claim was lost."""
