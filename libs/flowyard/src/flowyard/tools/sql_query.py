"""`sql.query`: reads from a database that the installation names. Nothing can be written: see docs/tools.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from flowyard.language.problems import suggest
from flowyard.language.tools import ToolFacts
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_ROWS: Final = 1_000
_FEW_ROWS: Final = 100
_SCALAR: Final = {"type": ["string", "number", "boolean", "null"], "maxLength": 100_000}

FACTS: Final = ToolFacts(
    name="sql.query",
    description="Reads from a database by one SELECT; returns the rows, each with its values by column.",
    parameters={
        "type": "object",
        "properties": {
            "source": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Name of the database."},
            "sql": {
                "type": "string",
                "minLength": 1,
                "maxLength": 20_000,
                "description": "One SELECT, with $1, $2, … for parameters.",
            },
            "parameters": {"type": "array", "maxItems": 100, "items": _SCALAR, "description": "Values for $1, $2, …"},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_ROWS,
                "description": f"Most rows; {_FEW_ROWS} if left out.",
            },
        },
        "required": ["source", "sql"],
        "additionalProperties": False,
    },
    effects=frozenset({"reads", "network"}),
    guarded="source",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlQuery:
    """`source`: its name, for errors. `address`: with its secrets."""

    source: str
    address: str
    sql: str
    parameters: Sequence[Any]
    limit: int


@dataclass(frozen=True, slots=True)
class SqlRows:
    """`is_cut`: there are more rows, or they would be too large."""

    rows: Sequence[Mapping[str, Any]]
    is_cut: bool


def tool(services: ToolServices) -> Tool:
    return Tool(FACTS, partial(_run, services))


async def _run(services: ToolServices, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    # Inline: only who calls the tool has the database's library.
    from flowyard.tools.sql_postgres import query_postgres  # noqa: PLC0415
    from flowyard.tools.sql_sqlite import query_sqlite  # noqa: PLC0415

    del context
    name = arguments["source"]
    if not services.sql:
        raise ToolFailed("no databases are set up: set FLOWYARD_SQL_SOURCES")
    if name not in services.sql:
        raise ToolFailed(f"no database '{name}' ({suggest(name, list(services.sql), 'databases')})")
    query = SqlQuery(
        source=name,
        address=services.sql[name],
        # A semicolon at the end is usual, and no second statement.
        sql=arguments["sql"].rstrip().rstrip(";"),
        parameters=arguments.get("parameters", ()),
        limit=arguments.get("limit", _FEW_ROWS),
    )
    answer = await (query_sqlite if query.address.startswith("sqlite:") else query_postgres)(query)
    return {"rows": list(answer.rows), "is_cut": answer.is_cut}
