"""`flowyard migrate`: brings the tables of a database to this version."""

from __future__ import annotations

import argparse
import asyncio
import os

from flowyard_embedded import exits
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.faults import WrongVariable
from flowyard_embedded.stack.schema import bring_to_schema
from flowyard_embedded.streams import put


def execute(args: argparse.Namespace) -> int:
    del args
    url = external_url(DATABASE_URL, os.environ)
    if url is None:
        raise WrongVariable(
            DATABASE_URL, "is missing: the database to migrate, postgresql://user:password@host:port/database"
        )
    schema = asyncio.run(bring_to_schema(url.get_secret_value()))
    put(f"flowyard: {schema}")
    return exits.OK
