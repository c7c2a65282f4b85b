"""Brings a database to the schema of this version. Doesn't import Alembic, which is slow, where nothing is to do."""

from __future__ import annotations

from dataclasses import dataclass

from flowyard.errors.base import FlowyardError
from flowyard.errors.services import UnknownSchema, WrongDatabase
from flowyard.storage.database import UNREACHABLE, not_connected, open_database
from flowyard.storage.roles import limit_services
from flowyard.storage.schema import VERSION, check_schema, migrate
from flowyard_embedded.faults import MigrationBusy


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """`before`: None if the database was empty."""

    before: str | None
    now: str

    def __str__(self) -> str:
        if self.before == self.now:
            return f"schema {self.now}, as it was"
        return f"schema {self.now}, made new" if self.before is None else f"schema {self.before} → {self.now}"


async def bring_to_schema(url: str, *, patience_s: float = 30.0) -> SchemaChange:
    """Waits up to `patience_s` for a server that is starting. Raises Unavailable, MigrationBusy."""
    async with open_database(url, service="migrate", most=1, patience_s=patience_s) as database:
        try:
            await check_schema(database)
        except UnknownSchema:
            pass
        else:
            await limit_services(url)
            return SchemaChange(VERSION, VERSION)
    try:
        done = await migrate(url)
        await limit_services(url)
    except TimeoutError as error:
        raise MigrationBusy from error
    except FlowyardError:
        raise
    except (*UNREACHABLE, OSError, ValueError, OverflowError) as error:
        raise not_connected(url, error) from error
    except Exception as error:  # SQLAlchemy's own errors, which this package doesn't know
        raise WrongDatabase(str(getattr(error, "orig", error)).partition("\n")[0]) from error
    return SchemaChange(done.before, done.after)
