"""What happens to attempts, for code that reports it: on the bus, in metrics, in logs."""

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
        """So many rows of its steps were read, to continue from them."""

    def mismatched(self, claim: Claim) -> None:
        """What is recorded of its steps doesn't fit: the run is about to fail."""

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
        """They were made under a claim that was over before anything of them was written, and are in the ledger now.

        No events tell of them.
        """

    def fenced(self, claim: Claim) -> None:
        """A commit has found that the claim isn't held any more: nothing of it was written."""

    def abandoned(self, claim: Claim) -> None:
        """The attempt has stopped because its claim was lost."""
