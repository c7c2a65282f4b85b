"""Why a stack doesn't start."""

from __future__ import annotations

from collections.abc import Sequence

from flowyard.errors import FlowyardError


class ServiceFailed(FlowyardError):
    """A service can't be got to be healthy. `said` are the last lines of its log."""

    code = "service_failed"

    def __init__(self, name: str, detail: str, *, said: Sequence[str] = ()) -> None:
        self.said = tuple(said)
        super().__init__("\n".join((f"{name} {detail}", *(f"  {line}" for line in said))))


class PublicPortTaken(FlowyardError):
    """Something else listens where the gateway or the dashboard should."""

    code = "port_taken"

    def __init__(self, service: str, port: int) -> None:
        self.port = port
        super().__init__(
            f"port {port} of 127.0.0.1, where the {service} should listen, is taken by another program: "
            "choose another with --port (the gateway gets that one, the dashboard the next; 0: any free ones)"
        )


class RunningOtherwise(FlowyardError):
    """A stack runs, and not as it was asked for now."""

    code = "running_otherwise"

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(f"it runs with {' and '.join(differences)}: end it first, with `flowyard down`")


class WrongVariable(FlowyardError):
    """An environment variable can't be used as it is."""

    code = "wrong_variable"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


class MigrationBusy(FlowyardError):
    """Another process migrates the same database, and doesn't come to an end."""

    code = "migration_busy"

    def __init__(self) -> None:
        super().__init__("another process is migrating this database and hasn't finished: try again later")
