"""The settings of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, SecretStr
from pydantic_settings import NoDecode

from flowyard.api.public_events import PUBLIC_EVENTS
from flowyard.chats.platforms import Chat, read_bases
from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.export.addresses import http_address
from flowyard.notify.secrets import WebhookSecret
from flowyard.outbound.allowlist import PUBLIC_ONLY, OutboundAllow
from flowyard.service.installation import InstallationSettings
from flowyard.settings import Port


def _url(text: str) -> str:
    return http_address(text) if text else text


class RegistrySettings(InstallationSettings):
    port: Port = 8402
    webhook_secret: WebhookSecret = SecretStr("")
    outbound_allow: OutboundAllow = PUBLIC_ONLY
    referenced_files: str = Field(
        "", description="Folder of the files to which webhooks in documents may refer as ${file:NAME}"
    )
    chat_urls: Annotated[Mapping[Chat, str], NoDecode, PlainValidator(read_bases)] = Field(
        {},
        description="Addresses of chats' APIs that replies go to instead of the usual ones: telegram=http://host:8081",
    )
    agent_ttl_s: float = Field(
        60.0, ge=1, le=86_400, description="Seconds without a heartbeat after which an agent is removed"
    )
    agent_heartbeat_s: float = Field(
        20.0, gt=0, le=86_400, description="Seconds between the heartbeats that agents should send"
    )
    sweep_s: float = Field(
        10.0, gt=0, le=3600, description="Seconds between sweeps for lost agents, and for runs of deleted workflows"
    )
    mlflow_url: Annotated[str, AfterValidator(_url)] = Field(
        "", description="URL of MLflow, to which finished runs are exported: http://host:port"
    )
    export_most_waiting: int = Field(
        100_000, ge=1, description="Finished runs that may wait for export; if there are more, the oldest are dropped"
    )
    events: Literal["runs", "all", "off"] = Field(
        "runs", description="Public events to publish: of runs, of runs and their steps (all), or none (off)"
    )
    events_max_age_s: float = Field(
        604_800.0, ge=60, le=31_536_000, description="Seconds after which the stream forgets a public event"
    )
    events_max_bytes: int = Field(
        268_435_456, ge=1_048_576, description="Bytes of public events that the stream keeps; the oldest go first"
    )

    queue_limit: int = Field(
        QUEUE_LIMIT, ge=1, le=10_000_000, description="Runs that may be queued; if there are more, triggers wait"
    )
    inputs_limit: int = Field(INPUTS_LIMIT, ge=1024, le=64 * 1024 * 1024, description="Most bytes of a run's inputs")
    chain_limit: int = Field(8, ge=1, le=1000, description="Runs in a row whose ends may start the next one")

    triggers_max_age_s: float = Field(
        604_800.0, ge=60, le=31_536_000, description="Seconds after which the stream forgets a message for triggers"
    )
    triggers_max_bytes: int = Field(
        268_435_456,
        ge=1_048_576,
        description="Bytes of messages for triggers that the stream keeps; the oldest go first",
    )

    @property
    def published_events(self) -> list[str]:
        """Their types."""
        if self.events == "off":
            return []
        return [kind for kind in PUBLIC_EVENTS if self.events == "all" or kind.startswith("run.")]
