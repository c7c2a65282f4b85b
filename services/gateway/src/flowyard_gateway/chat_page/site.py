"""Where the chat page is, and what its templates know."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys, Sessions
from flowyard.web.auth import TakeRequest
from flowyard.web.pages.assets import Assets, load_assets
from flowyard.web.pages.entrance import Entrance
from flowyard.web.pages.site import Site
from flowyard.web.pages.templating import Pages
from flowyard.web.wrong_keys import WrongKeys
from flowyard_gateway.settings import GatewaySettings

SITE: Final = Site(root="/chat", home="/chat", ways=(("/chat", "Chat"),))
_FOLDER: Final = Path(__file__).parent
_OWN: Final = tuple(_FOLDER / "static" / name for name in ("chat.css", "drafts.css", "chat.js"))


def chat_assets() -> Assets:
    """Raises AssetsMissing."""
    return load_assets(SITE, _OWN)


def chat_entrance(
    settings: GatewaySettings, database: Database, assets: Assets, *, take_request: TakeRequest
) -> Entrance:
    known = {"dashboard_url": settings.dashboard_public_url}
    return Entrance(
        site=SITE,
        pages=Pages(SITE, assets, _FOLDER / "templates", known=known),
        keys=Keys(database),
        sessions=Sessions(database),
        wrong_keys=WrongKeys(settings.trusted_proxies),
        trusted=settings.trusted_proxies,
        session_s=settings.session_hours * 3600,
        form_limit=settings.body_limit,
        take_request=take_request,
    )
