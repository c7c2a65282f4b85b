"""Errors of processes: what they need can't be reached or isn't what they need."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError


class Unavailable(FlowyardError):
    """Postgres, NATS or another service that is needed can't be reached now."""

    code = "unavailable"
    status = 503
    title = "A service that is needed can't be reached"

    def __init__(self, what: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(f"{what} can't be reached now")


class ShuttingDown(FlowyardError):
    """A request was still open at the end of the service's grace period."""

    code = "shutting_down"
    status = 503
    title = "The service is shutting down"
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("the service shut down before this was done: try again")


class WrongDatabase(FlowyardError):
    """Postgres refuses the connection: no such database, a wrong password."""

    code = "wrong_database"
    status = 503
    title = "The database can't be used"

    def __init__(self, reason: str) -> None:
        super().__init__(f"can't use the database that FLOWYARD_DATABASE_URL names: {reason}")


class UnknownSchema(FlowyardError):
    """The database's tables aren't those of this version. `current`: None if there are none."""

    code = "unknown_schema"
    status = 503
    title = "The database has another schema"

    def __init__(self, *, current: str | None, needed: str) -> None:
        has = f"has schema {current}" if current else "has no tables yet"
        newer = current is not None and current > needed
        do = "it was made by a newer version of Flowyard: use that one" if newer else "run `flowyard migrate`"
        super().__init__(f"the database {has}, this version needs {needed}: {do}")


class CannotListen(FlowyardError):
    """A service can't listen at its configured address."""

    code = "cannot_listen"
    title = "Can't bind to the address"

    def __init__(self, *, host: str, port: int, reason: str) -> None:
        super().__init__(f"can't listen on {host}:{port}: {reason}")
