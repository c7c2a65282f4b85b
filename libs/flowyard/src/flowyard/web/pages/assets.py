"""Scripts and styles. Their URLs contain a hash of their content, so that browsers can cache them forever."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from flowyard.errors.base import FlowyardError
from flowyard.web.pages.site import Site

_FOLDER: Final = Path(__file__).with_name("static")
_NAMES: Final = ("app.css", "app.js", "icon.svg", "vendor/htmx.min.js", "vendor/sse.min.js")


class AssetsMissing(FlowyardError, code="assets_missing", title="The scripts of the pages are missing"):
    """The third-party scripts weren't downloaded when the library was built."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"the pages need {missing}: run `make setup` in the checkout from which they were installed")


@dataclass(frozen=True, slots=True)
class Asset:
    url: str
    media_type: str
    body: bytes
    compressed: bytes


@dataclass(frozen=True, slots=True)
class Assets:
    by_name: Mapping[str, Asset]
    by_url: Mapping[str, Asset]

    def url(self, name: str) -> str:
        return self.by_name[name].url


def load_assets(site: Site, own: Sequence[Path] = (), *, folder: Path = _FOLDER) -> Assets:
    """Reads and compresses the files that all pages need, and a service's own. Raises AssetsMissing."""
    files = {name: folder / name for name in _NAMES} | {path.name: path for path in own}
    assets = {name: _load(site, name, path) for name, path in files.items()}
    return Assets(assets, {asset.url: asset for asset in assets.values()})


def _load(site: Site, name: str, path: Path) -> Asset:
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        raise AssetsMissing(name) from None
    url = f"{site.assets}{hashlib.sha256(body).hexdigest()[:16]}/{name.rpartition('/')[2]}"
    return Asset(url, mimetypes.guess_type(name)[0] or "application/octet-stream", body, gzip.compress(body, mtime=0))


def asset_routes(site: Site, assets: Assets) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get(site.assets + "{digest}/{name}")
    async def asset(request: Request) -> Response:
        file = assets.by_url.get(request.url.path)
        if file is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(file.compressed, headers=headers, media_type=file.media_type)
        return Response(file.body, headers=headers, media_type=file.media_type)

    return router
