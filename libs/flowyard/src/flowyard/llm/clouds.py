"""Providers of clouds, whose access is no single key, but what their own tools find in many places. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowyard.language.nodes import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """`variable`: what most users set; `has_key`: to a key, not to a path.

    `prefixes`: of other variables that show that somebody has configured it.
    `extra`: the prefix of its names in `extra`. `module`, `package`: what it needs besides LiteLLM; "": nothing.
    """

    variable: str
    has_key: bool = False
    prefixes: tuple[str, ...]
    extra: str
    module: str = ""
    package: str = ""


_AWS: Final = Cloud(variable="AWS_BEARER_TOKEN_BEDROCK", has_key=True, prefixes=("AWS_",), extra="aws_")
_VERTEX: Final = Cloud(
    variable="GOOGLE_APPLICATION_CREDENTIALS",
    prefixes=("GOOGLE_APPLICATION_", "GOOGLE_CLOUD_", "VERTEX_", "VERTEXAI_"),
    extra="vertex_",
    module="google.auth",
    package="google-auth",
)
CLOUDS: Final[Mapping[str, Cloud]] = {
    **dict.fromkeys(("bedrock", "bedrock_mantle", "sagemaker", "sagemaker_chat"), _AWS),
    **dict.fromkeys(("vertex_ai", "vertex_ai_beta"), _VERTEX),
}


def is_configured(cloud: Cloud, settings: ModelSettings, environ: Mapping[str, str]) -> bool:
    """Whether the environment or the document say anything of the cloud: a role of the machine has no variable."""
    in_environment = any(name.startswith(cloud.prefixes) and environ[name].strip() for name in environ)
    return in_environment or any(name.startswith(cloud.extra) for name in settings.extra)
