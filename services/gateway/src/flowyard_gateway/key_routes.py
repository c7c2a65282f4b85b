"""The routes of API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path

from flowyard.api.keys import KeyList, KeyRequest, KeyView, NewKeyView, RotateRequest
from flowyard.api.moments import moment_from_now
from flowyard.bus.messages import KeyChanged
from flowyard.errors.requests import InvalidRequest, KeyIsOver, UnknownKey
from flowyard.storage.keys import KeyInfo
from flowyard.web.auth import ADMIN, Acting
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.parts import GatewayParts, InjectedParts

KeyId: TypeAlias = Annotated[str, Path(pattern=r"^[a-z2-7]{8}$", description="The part between `fy_` and the secret")]


router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictJsonRoute)


@router.post(
    "",
    summary="Create a key",
    description="The answer has the key itself, which can't be read again.",
    status_code=201,
    **guarded(ADMIN, InvalidRequest),
)
async def create_key(parts: InjectedParts, request: KeyRequest, by: Acting) -> NewKeyView:
    info, text = await parts.keys.create(
        request.name,
        frozenset(request.scopes),
        workflows=frozenset(request.workflows) if request.workflows is not None else None,
        rate=request.requests_per_minute,
        expires_at=_end(request.expires),
        by=by,
    )
    return NewKeyView(**_facts(info), key=text)


@router.get(
    "",
    summary="List the keys",
    description="With their scopes. The keys themselves are shown only when they are created.",
    **guarded(ADMIN),
)
async def list_keys(parts: InjectedParts) -> KeyList:
    return KeyList(items=[KeyView(**_facts(info)) for info in await parts.keys.list()])


@router.post(
    "/{key_id}/rotate",
    summary="Give a key another secret",
    description="Its id, scopes and limits stay. The old secret stays valid until the overlap is over; one that an"
    " earlier rotation has left ends now.",
    **guarded(ADMIN, UnknownKey, KeyIsOver, InvalidRequest),
)
async def rotate_key(parts: InjectedParts, key_id: KeyId, request: RotateRequest, by: Acting) -> NewKeyView:
    end = _end(request.expires)
    info, text = await parts.keys.rotate(key_id, overlap_s=request.overlap_s, expires_at=end, by=by)
    _announce(parts, key_id)
    return NewKeyView(**_facts(info), key=text)


@router.delete(
    "/{key_id}",
    summary="Revoke a key",
    description="All services refuse it within a second. Revoking it again changes nothing.",
    **guarded(ADMIN, UnknownKey),
)
async def revoke_key(parts: InjectedParts, key_id: KeyId, by: Acting) -> KeyView:
    info = await parts.keys.revoke(key_id, by=by)
    _announce(parts, key_id)
    return KeyView(**_facts(info))


def _announce(parts: GatewayParts, key_id: str) -> None:
    parts.callers.forget(key_id)
    parts.bus.publish(KeyChanged(id=key_id))


def _end(given: datetime | timedelta | None) -> datetime | None:
    """Raises InvalidRequest."""
    try:
        return moment_from_now(given, datetime.now(UTC)) if given is not None else None
    except ValueError as error:
        raise InvalidRequest([{"where": "body.expires", "message": str(error)}]) from error


def _facts(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.name,
        "scopes": sorted(info.scopes),
        "workflows": sorted(info.workflows) if info.workflows is not None else None,
        "requests_per_minute": info.rate,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "last_used_at": info.last_used_at,
        "revoked_at": info.revoked_at,
        "old_secret_until": info.old_until,
    }
