"""The route of the audit log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from flowyard.api.audit import MOST_ROWS, AuditEntry, AuditPage
from flowyard.api.costs import Moment
from flowyard.api.moments import HOW_TO_WRITE, moment
from flowyard.api.pages import DEFAULT_LIMIT
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import InvalidRequest
from flowyard.language.problems import suggest
from flowyard.storage.audit import ACTS, AuditFilter, AuditRow
from flowyard.web.auth import ADMIN
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer
from flowyard_gateway.parts import InjectedParts

_ABOUT: Final = (
    "Who did what, and when. Rows are never changed, and each has the hash of the row before. The answer has all that"
    " was done up to now."
)

_KINDS: Final = sorted({act.partition(".")[0] for act in ACTS})


def _known_act(text: str) -> str:
    """A list for an act that doesn't exist would be empty, as if nobody had done it."""
    if text not in ACTS and text not in _KINDS:
        raise ValueError(f"no act '{text}' ({suggest(text, [*_KINDS, *ACTS], 'acts')})")
    return text


router = APIRouter(prefix="/v1", tags=["audit"], route_class=StrictJsonRoute)


@router.get(
    "/audit",
    summary="List the audit log",
    description=_ABOUT,
    response_model=AuditPage,
    **guarded(ADMIN, InvalidRequest),
)
async def list_audit(  # noqa: PLR0913  # FastAPI passes them by name
    parts: InjectedParts,
    *,
    act: Annotated[
        str | None,
        Query(
            pattern=r"^[a-z]+(\.[a-z]+)?$",
            max_length=64,
            description=f"{', '.join(ACTS)}; or all of a kind, such as `run`",
        ),
        AfterValidator(_known_act),
    ] = None,
    key: Annotated[str | None, Query(pattern=r"^[a-z2-7]{8}$", description="The id of the key that did it")] = None,
    workflow: Annotated[WorkflowName | None, Query()] = None,
    object_id: Annotated[
        str | None,
        Query(alias="object", max_length=200, pattern=r"^[^\x00]+$", description="The id of a run, a key, …"),
    ] = None,
    since: Annotated[Moment | None, Query(description=f"The beginning: {HOW_TO_WRITE}")] = None,
    until: Annotated[Moment | None, Query(description=f"The end: {HOW_TO_WRITE}")] = None,
    order: Annotated[Literal["newest", "oldest"], Query(description="Which rows come first")] = "newest",
    cursor: Annotated[int | None, Query(ge=0, le=2**62, description="The `next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="How many rows at most")] = DEFAULT_LIMIT,
) -> Response:
    now = datetime.now(UTC)
    wanted = AuditFilter(act, key, workflow, object_id, moment(since, now), moment(until, now))
    await parts.audit.chain()
    place = {"after": cursor or 0} if order == "oldest" else {"before": cursor}
    rows = await parts.audit.page(wanted, **place, limit=limit + 1)
    items = [_entry(row) for row in rows[:limit]]
    return answer(AuditPage(items=items, next_cursor=items[-1].number if len(rows) > limit else None))


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry.model_validate({**asdict(row), "previous": row.previous.hex(), "hash": row.hash.hex()})
