"""Shapes of the reports of what model calls cost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from flowyard.api import examples
from flowyard.api.moments import HOW_TO_WRITE, read_moment
from flowyard.api.runs import money
from flowyard.runs.costs import Costs, Grouping, Sums

DEFAULT_GROUPS: Final = 100
MOST_GROUPS: Final = 1000
Moment: TypeAlias = Annotated[
    datetime | timedelta,
    PlainValidator(read_moment),
    WithJsonSchema({"type": "string", "description": HOW_TO_WRITE, "examples": ["7d"]}),
]


class CostSums(BaseModel, json_schema_extra={"examples": [examples.COST_SUMS]}):
    """Sums over model calls. null: at least one part is unknown, which is not zero; `known_…` adds up the others."""

    calls: int
    errors: Annotated[int, Field(description="Calls that failed")]
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: Annotated[int | None, Field(description="How many of `tokens_in` were cached")]
    cost_usd: Annotated[str | None, Field(description="A decimal number, in US dollars; exact")]
    known_tokens_in: int
    known_tokens_out: int
    known_tokens_cached: int
    known_cost_usd: Annotated[str, Field(description="As `cost_usd`, of the calls whose cost is known")]
    unknown_tokens: Annotated[int, Field(description="Calls whose tokens, in or out, are unknown")]
    unknown_cost: Annotated[int, Field(description="Calls whose cost is unknown")]
    duration_mean_s: Annotated[float | None, Field(description="Mean of the calls that succeeded; null: none did")]
    duration_p95_s: float | None
    first_token_p50_s: Annotated[float | None, Field(description="null: no reply was streamed")]

    @classmethod
    def of(cls, sums: Sums) -> CostSums:
        return cls.model_construct(**_values(sums))


class CostGroup(CostSums, json_schema_extra={"examples": [examples.COST_GROUP]}):
    """Sums over the model calls of one group. `group`: its name."""

    group: Annotated[
        str, Field(description="`provider`, `provider/model`, `workflow`, `workflow.node`, a day in UTC, or a run's id")
    ]

    @classmethod
    def named(cls, name: str, sums: Sums) -> CostGroup:
        return cls.model_construct(group=name, **_values(sums))


class CostReport(BaseModel, json_schema_extra={"examples": [examples.COST_REPORT]}):
    """Sums over the ledger. The sums of all groups add up to `total` exactly.

    The most expensive group comes first; days are in reverse order.
    """

    by: Grouping
    since: Annotated[datetime | None, Field(description="Calls that ended from then on; null: all that are kept")]
    until: Annotated[datetime | None, Field(description="Calls that ended before this time; null: until now")]
    workflow: str | None
    run_id: UUID | None
    items: list[CostGroup]
    group_count: Annotated[int, Field(description="How many groups there are; `items` may be fewer, see `limit`")]
    total: CostSums

    @classmethod
    def of(cls, costs: Costs, **filters: Any) -> CostReport:
        """`filters`: by, since, until, workflow, run_id."""
        items = [CostGroup.named(name, sums) for name, sums in costs.groups]
        total = CostSums.of(costs.total)
        return cls.model_construct(**filters, items=items, group_count=costs.group_count, total=total)


def _values(sums: Sums) -> dict[str, Any]:
    values = {name: getattr(sums, name) for name in CostSums.model_fields}
    return values | {"cost_usd": money(sums.cost_usd), "known_cost_usd": money(sums.known_cost_usd)}
