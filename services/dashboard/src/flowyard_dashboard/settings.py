"""What the dashboard is told."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.settings import Port, SecretKey, ServiceSettings

_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/%-]*")


def _public(url: str) -> str:
    """It goes into a header and into pages: it has to be quite plain."""
    parts = urlsplit(url)
    is_plain = _HOST.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and not parts.query and not parts.fragment
    if url and not (parts.scheme in ("http", "https") and is_plain):
        raise ValueError("should be such as https://mlflow.example.com:5000, without a user and without a query")
    return url.rstrip("/")


PublicUrl: TypeAlias = Annotated[str, AfterValidator(_public)]


class DashboardSettings(ServiceSettings):
    port: Port = 8401
    secret_key: SecretKey = SecretStr("")
    session_hours: Annotated[float, Field(gt=0, le=720, description="Hours after which one has to log in again")] = 12.0
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between looks for what NATS didn't tell the open pages")
    ] = 1.0
    queue_limit: Annotated[
        int, Field(ge=1, le=10_000_000, description="Runs that may be queued; beyond that, none is taken")
    ] = QUEUE_LIMIT
    inputs_limit: Annotated[
        int, Field(ge=1024, le=64 * 1024 * 1024, description="Bytes that the inputs of a run may have")
    ] = INPUTS_LIMIT
    mlflow_public_url: Annotated[
        PublicUrl, Field(description="MLflow, as browsers see it: the dashboard has a page that shows it")
    ] = ""
    grafana_public_url: Annotated[
        PublicUrl, Field(description="Grafana, as browsers see it: the dashboard links to it")
    ] = ""
