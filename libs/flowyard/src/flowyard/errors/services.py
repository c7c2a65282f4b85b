"""Errors of processes: a server that they need can't be reached, or can't be used."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError


class Unavailable(FlowyardError, code="unavailable", status=503, title="A required service can't be reached"):
    """Postgres, NATS or another service that is needed can't be reached now."""

    def __init__(self, what: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(f"{what} can't be reached now")


class DiskFull(Unavailable, code="disk_full", title="The disk is full"):
    """Postgres can't store anything: its disk is full."""

    def __init__(self) -> None:
        self.retry_after = 5.0
        FlowyardError.__init__(self, "Postgres can't store anything now: its disk is full")


class ShuttingDown(FlowyardError, code="shutting_down", status=503, title="The service is shutting down"):
    """A request was still open at the end of the service's grace period."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("the service shut down before the request was answered: try again")


class TooManyConnections(FlowyardError, code="too_many_connections", status=503, title="Too many connections"):
    """The limit of open connections is reached, and none of them is idle."""

    retry_after = 1.0

    def __init__(self, *, most: int) -> None:
        super().__init__(f"{most} connections are open, which is the limit: try again")


class WrongDatabase(FlowyardError, code="wrong_database", status=503, title="The database can't be used"):
    """Postgres refuses the connection: no such database, a wrong password."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"can't use the database that FLOWYARD_DATABASE_URL names: {reason}")


class UnknownSchema(FlowyardError, code="unknown_schema", status=503, title="The database has another schema"):
    """The tables aren't those of this version of Flowyard. `version`: that of the tables; None: there are no tables."""

    def __init__(self, *, version: str | None, needed: str) -> None:
        has = f"has schema {version}" if version else "has no tables yet"
        newer = version is not None and version > needed
        do = "it was made by a newer version of Flowyard: use that one" if newer else "run `flowyard migrate`"
        super().__init__(f"the database {has}, this version needs {needed}: {do}")


class ReplaysStopped(FlowyardError, code="replays_stopped", status=503, title="The executor continues no more runs"):
    """An executor claims no more runs with recorded steps, because the steps of several runs didn't fit."""

    def __init__(self) -> None:
        do = "restart it with the release that recorded the runs, or one that fits them, and retry those that failed"
        super().__init__(f"recorded steps of several runs didn't fit, so that only new runs are claimed: {do}")


class CannotListen(FlowyardError, code="cannot_listen", title="Can't bind to the address"):
    """A service can't listen at its configured address."""

    def __init__(self, *, host: str, port: int, reason: str) -> None:
        super().__init__(f"can't listen on {host}:{port}: {reason}")
