"""Errors of runs as a whole: their claims, what they store, their secret inputs."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError


class ClaimLost(FlowyardError, code="claim_lost", status=409, title="The claim on the run is lost"):
    """An executor tried to write for a run whose claim it has lost. Nothing was written."""

    def __init__(self, run_id: str, *, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        super().__init__(f"the claim on run {run_id} with epoch {epoch} is lost")


class ReplayMismatch(FlowyardError, code="replay_mismatch", status=500, title="The run's recorded steps don't fit"):
    """The recorded steps of a run aren't those that its workflow leads to in this version. Nothing was executed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the recorded steps of the run don't fit its workflow: {reason}")


class CommitRefused(FlowyardError, code="commit_refused", status=500, title="A step's results can't be stored"):
    """Postgres refused the results of a step."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the step's results can't be stored: {reason}")


class SecretsNotConfigured(
    FlowyardError, code="secrets_not_configured", status=422, title="No key for secret inputs is configured"
):
    """A workflow has secret inputs, and the service has no key to encrypt them with."""

    def __init__(self, workflow: str) -> None:
        do = "set FLOWYARD_SECRET_KEY, the same for gateway, dashboard and executors"
        how = "32 random bytes in Base64, as `openssl rand -base64 32` makes them"
        super().__init__(f"workflow '{workflow}' has secret inputs, and there is no key to encrypt them: {do} ({how})")


class UnreadableSecret(FlowyardError, code="unreadable_secret", status=500, title="A secret input can't be decrypted"):
    """A secret input can't be decrypted. `reason`: without the value."""

    def __init__(self, name: str, *, reason: str) -> None:
        hint = "FLOWYARD_SECRET_KEY has to be the one that gateway and dashboard have, or list it among its keys"
        super().__init__(f"the secret input '{name}' can't be decrypted: {reason} ({hint})")
