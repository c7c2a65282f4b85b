"""The routes of API keys."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path

from flowyard.api.keys import KeyList, KeyRequest, KeyView, NewKeyView
from flowyard.bus.messages import KeyChanged
from flowyard.errors.requests import UnknownKey
from flowyard.storage.keys import KeyInfo
from flowyard.web.auth import ADMIN
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.parts import InjectedParts

KeyId: TypeAlias = Annotated[str, Path(pattern=r"^[a-z2-7]{8}$", description="The part between `fy_` and the secret")]


router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictJsonRoute)


@router.post("", summary="Create a key", status_code=201, **guarded(ADMIN))
async def create_key(parts: InjectedParts, request: KeyRequest) -> NewKeyView:
    info, text = await parts.keys.create(request.name, frozenset(request.scopes))
    return NewKeyView(**_facts(info), key=text)


@router.get("", summary="List the keys", **guarded(ADMIN))
async def list_keys(parts: InjectedParts) -> KeyList:
    return KeyList(items=[KeyView(**_facts(info)) for info in await parts.keys.list()])


@router.delete(
    "/{key_id}",
    summary="Revoke a key",
    description="All services refuse it within a second. Revoking it again changes nothing.",
    **guarded(ADMIN, UnknownKey),
)
async def revoke_key(parts: InjectedParts, key_id: KeyId) -> KeyView:
    info = await parts.keys.revoke(key_id)
    parts.callers.forget(key_id)
    parts.bus.publish(KeyChanged(id=key_id))
    return KeyView(**_facts(info))


def _facts(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.name,
        "scopes": sorted(info.scopes),
        "created_at": info.created_at,
        "revoked_at": info.revoked_at,
    }
