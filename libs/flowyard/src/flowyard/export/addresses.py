"""Where to send traces: OpenTelemetry's environment variables, read as its specification requires.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
https://opentelemetry.io/docs/specs/otel/protocol/exporter
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Protocol: TypeAlias = Literal["http/protobuf", "http/json"]

MLFLOW: Final = "mlflow"
OTLP: Final = "otlp"
"""The names of the targets in the database, metrics and logs."""
PREFIX: Final = "OTEL_"
_ENDPOINTS: Final = ("EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT")
_TIMEOUT_MS: Final = 10_000.0
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def http_address(url: str) -> str:
    """The address itself, if it is a valid one. Raises ValueError."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("should be http://host:port or https://host")
    if address.username or address.password:
        raise ValueError("should not contain a password")
    return url


def _pairs(text: str) -> dict[str, str]:
    """Parses `name=value,name=value`, with percent-encoded values. Raises ValueError."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise ValueError("should be name=value,name=value")
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _checked_pairs(text: str) -> str:
    _pairs(text)
    return text


def _checked_headers(text: SecretStr) -> SecretStr:
    for name, value in _pairs(text.get_secret_value()).items():
        # Otherwise every request would fail, with the value in the log.
        if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise ValueError("should contain names and values that are valid in HTTP headers")
    return text


_Url: TypeAlias = Annotated[str, AfterValidator(http_address)]
_Pairs: TypeAlias = Annotated[str, AfterValidator(_checked_pairs)]
_Headers: TypeAlias = Annotated[SecretStr, AfterValidator(_checked_headers)]
_Timeout: TypeAlias = Annotated[float, Field(gt=0, le=600_000, description="Milliseconds")]
_Compression: TypeAlias = Literal["none", "gzip"]


@dataclass(frozen=True, slots=True)
class OtlpAddress:
    """Where to send spans. `url`: the full one, with its path. `headers`: may contain keys."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    protocol: Protocol = "http/protobuf"
    compressed: bool = False

    @property
    def secrets(self) -> set[str]:
        """The values of the headers, and each value's last word: the key after `Bearer`."""
        return {secret for value in self.headers.values() for secret in (value, value.rpartition(" ")[2])}


class OtelSettings(BaseSettings):
    """OpenTelemetry's variables. A variable for traces overrides the general one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    sdk_disabled: str = "false"
    traces_exporter: str = "otlp"
    service_name: str | None = None
    resource_attributes: _Pairs = ""
    exporter_otlp_endpoint: _Url | None = None
    exporter_otlp_traces_endpoint: _Url | None = None
    exporter_otlp_headers: _Headers | None = None
    exporter_otlp_traces_headers: _Headers | None = None
    exporter_otlp_timeout: _Timeout | None = None
    exporter_otlp_traces_timeout: _Timeout | None = None
    exporter_otlp_protocol: Protocol | None = None
    exporter_otlp_traces_protocol: Protocol | None = None
    exporter_otlp_compression: _Compression | None = None
    exporter_otlp_traces_compression: _Compression | None = None

    @property
    def address(self) -> OtlpAddress | None:
        """None: no OTLP endpoint is configured."""
        everything, traces = self.exporter_otlp_endpoint, self.exporter_otlp_traces_endpoint
        url = traces or (f"{everything.rstrip('/')}/v1/traces" if everything else None)
        exporters = {name.strip() for name in self.traces_exporter.split(",")}
        if url is None or self.sdk_disabled.strip().lower() == "true" or "otlp" not in exporters:
            return None
        headers = self.exporter_otlp_traces_headers or self.exporter_otlp_headers
        compression = self.exporter_otlp_traces_compression or self.exporter_otlp_compression
        return OtlpAddress(
            url,
            _pairs(headers.get_secret_value()) if headers is not None else {},
            self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol or "http/protobuf",
            compressed=compression == "gzip",
        )

    @property
    def timeout_s(self) -> float:
        return (self.exporter_otlp_traces_timeout or self.exporter_otlp_timeout or _TIMEOUT_MS) / 1000

    @property
    def resource(self) -> dict[str, str]:
        """The attributes that all spans have in common."""
        attributes = {"service.name": "flowyard", "service.version": version("flowyard")}
        attributes |= _pairs(self.resource_attributes)
        return attributes | ({"service.name": self.service_name} if self.service_name else {})


def read_otel(*, program: str) -> OtelSettings:
    """The settings. For invalid values, prints a line each and exits with code 2.

    If no traces are to be sent, invalid values are meant for other programs and are ignored.
    """
    try:
        return OtelSettings()
    except ValidationError as error:
        invalid = {str(error["loc"][0]) for error in error.errors()}
        if not _are_traces_wanted():
            return OtelSettings(**{name: OtelSettings.model_fields[name].default for name in invalid})
        sys.stderr.writelines(f"{program}: {_describe(error)}\n" for error in error.errors(include_url=False))
        raise SystemExit(2) from None


def _are_traces_wanted() -> bool:
    values = {
        name: os.environ.get(PREFIX + name, "").strip() for name in ("SDK_DISABLED", "TRACES_EXPORTER", *_ENDPOINTS)
    }
    exporters = [name.strip() for name in (values["TRACES_EXPORTER"] or "otlp").split(",")]
    return values["SDK_DISABLED"].lower() != "true" and "otlp" in exporters and any(values[name] for name in _ENDPOINTS)


def _describe(error: Any) -> str:
    name = str(error["loc"][0])
    variable = PREFIX + name.upper()
    value = os.environ.get(variable, "")
    attributes = "" if name.endswith("headers") or "@" in value else f" is '{value}'"
    return f"{variable}{attributes}: {error['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
