"""The site of the dashboard, and what its templates know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowyard.storage.overview import MOST_COUNTED
from flowyard.web.pages.assets import Assets
from flowyard.web.pages.filters import cut, cut_tight
from flowyard.web.pages.site import Site
from flowyard.web.pages.templating import Pages

SITE: Final = Site(ways=(("/workflows", "Workflows"), ("/runs", "Runs")))
MAX_DISPLAYED: Final = 20_000
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class ExternalLinks:
    """The URLs of other web pages, for browsers. Empty: there is none."""

    mlflow_url: str = ""
    grafana_url: str = ""


def dashboard_pages(assets: Assets, external: ExternalLinks) -> Pages:
    known = {"external": external, "most_counted": MOST_COUNTED}
    return Pages(SITE, assets, Path(__file__).with_name("templates"), known=known, filters=(preview, display))


def display(value: Any) -> str:
    """A value of the state as readable text."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return cut(text, MAX_DISPLAYED)


def preview(outputs: Mapping[str, Any]) -> str:
    """The beginning of a step's outputs, in one line."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in outputs.items()}
    line = " · ".join(f"{name}: {text}"[:200] for name, text in texts.items())
    return cut_tight(" ".join(line.split()), 110)
