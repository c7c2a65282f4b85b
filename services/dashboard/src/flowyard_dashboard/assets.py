"""Scripts and styles. Their URLs contain a hash of their content, so that browsers can cache them forever."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard.errors.base import FlowyardError

PREFIX: Final = "/static/"
_FOLDER: Final = Path(__file__).with_name("static")
_NAMES: Final = ("app.css", "app.js", "icon.svg", "vendor/htmx.min.js", "vendor/sse.min.js")


class AssetsMissing(FlowyardError, code="assets_missing", title="The scripts of the pages are missing"):
    """The third-party scripts weren't downloaded when the dashboard was built."""

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


def load_assets(folder: Path = _FOLDER) -> Assets:
    """Reads and compresses all files. Raises AssetsMissing."""
    assets = {name: _load(folder, name) for name in _NAMES}
    return Assets(assets, {asset.url: asset for asset in assets.values()})


def _load(folder: Path, name: str) -> Asset:
    try:
        body = (folder / name).read_bytes()
    except FileNotFoundError:
        raise AssetsMissing(name) from None
    url = f"{PREFIX}{hashlib.sha256(body).hexdigest()[:16]}/{name.rpartition('/')[2]}"
    return Asset(url, mimetypes.guess_type(name)[0] or "application/octet-stream", body, gzip.compress(body, mtime=0))
