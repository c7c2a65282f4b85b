"""The settings of tools that reach out. The addresses in them are an administrator's, and need no permission."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from flowyard.errors.outbound import OutboundInvalid
from flowyard.exact_json import json_fault
from flowyard.outbound.allowlist import PUBLIC_ONLY, Allowlist, OutboundAllow, read_allowlist
from flowyard.outbound.urls import read_destination
from flowyard.settings import OptionalUrl, Settings
from flowyard.tools.email_send import ADDRESS
from flowyard.tools.services import MailService, SearchService, SlackService

_SOURCE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_DATABASES: Final = ("postgresql://", "postgres://", "sqlite:///")
_PORTS: Final = {"smtp": 587, "smtps": 465}


def read_sql_sources(text: str) -> Mapping[str, str]:
    """`FLOWYARD_SQL_SOURCES`: addresses of databases by name. Raises ValueError, without any address."""
    if not text:
        return {}
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'should be JSON such as {{"crm": "postgresql://…"}}: {json_fault(error)}') from None
    if not isinstance(given, dict):
        raise ValueError("should be a JSON object: addresses of databases by name")  # noqa: TRY004  # pydantic's
    for name, address in given.items():
        if not _SOURCE.fullmatch(name):
            raise ValueError(f"{name[:60]!r} should be a name of small letters, digits, - and _")
        if not isinstance(address, str) or not address.startswith(_DATABASES):
            raise ValueError(f"the address of '{name}' should begin with {' or '.join(_DATABASES)}")
    return given


def read_smtp(text: str, sender: str) -> MailService | None:
    """None: there is no server. Raises ValueError, without any of the address."""
    if not text:
        return None
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname
    except ValueError:
        raise ValueError("can't be read as an address") from None
    if url.scheme not in _PORTS or not host:
        raise ValueError("should be smtp://user:password@host:587, or smtps:// with TLS from the start")
    tls = parse_qs(url.query).get("tls", [""])[0]
    if tls not in ("", "none") or (tls and url.scheme == "smtps"):
        raise ValueError("may end in ?tls=none with smtp:// only, for a server that has no STARTTLS")
    return MailService(
        host=host,
        port=port or _PORTS[url.scheme],
        security="tls" if url.scheme == "smtps" else "none" if tls else "starttls",
        sender=sender,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
    )


def _sources(text: SecretStr) -> SecretStr:
    read_sql_sources(text.get_secret_value())
    return text


def _smtp(text: SecretStr) -> SecretStr:
    read_smtp(text.get_secret_value(), "")
    return text


def _web(text: SecretStr) -> SecretStr:
    if text.get_secret_value():
        try:
            read_destination(text.get_secret_value())
        except OutboundInvalid as error:
            raise ValueError(f"can't be used: {error}") from None
    return text


def _address(text: str) -> str:
    if text and not ADDRESS.fullmatch(text):
        raise ValueError("should be an address such as flows@example.com")
    return text


class ReachingSettings(Settings):
    outbound_allow: OutboundAllow = PUBLIC_ONLY
    search_provider: Literal["", "searxng", "brave", "serper", "tavily"] = Field(
        "", description="Who searches for the tool web.search: searxng, brave, serper or tavily"
    )
    search_url: OptionalUrl = Field("", description="Address of SearXNG, or of another service with the provider's API")
    search_key: SecretStr = Field(SecretStr(""), description="Key of the search provider")
    slack_token: SecretStr = Field(SecretStr(""), description="Token of the app (xoxb-…) by which slack.post posts")
    slack_webhook: Annotated[SecretStr, AfterValidator(_web)] = Field(
        SecretStr(""), description="Incoming webhook by which slack.post posts to its one channel"
    )
    smtp_url: Annotated[SecretStr, AfterValidator(_smtp)] = Field(
        SecretStr(""),
        description="Mail server of email.send: smtp://user:password@host:587 (STARTTLS), or smtps:// (TLS)",
    )
    smtp_from: Annotated[str, AfterValidator(_address)] = Field("", description="Address that email.send sends from")
    sql_sources: Annotated[SecretStr, AfterValidator(_sources)] = Field(
        SecretStr(""),
        description='Databases that sql.query reads, by name, as JSON: {"crm": "postgresql://reader:password@host/crm"}',
    )


def reaching_services(settings: ReachingSettings) -> dict[str, Any]:
    """Fields of ToolServices."""
    provider = settings.search_provider
    slack = SlackService(
        token=settings.slack_token.get_secret_value(), webhook=settings.slack_webhook.get_secret_value()
    )
    search = provider and SearchService(
        provider=provider, url=settings.search_url, key=settings.search_key.get_secret_value()
    )
    return {
        "search": search or None,
        "slack": slack if slack.token or slack.webhook else None,
        "mail": read_smtp(settings.smtp_url.get_secret_value(), settings.smtp_from),
        "sql": read_sql_sources(settings.sql_sources.get_secret_value()),
    }


def named_addresses(settings: ReachingSettings) -> Allowlist:
    """The hosts that these settings name, besides those that documents may reach: they may be in a private network."""
    return read_allowlist(" ".join([str(settings.outbound_allow), *_hosts(settings)]))


def _hosts(settings: ReachingSettings) -> Iterator[str]:
    for url in (settings.search_url, settings.slack_webhook.get_secret_value()):
        if url:
            yield read_destination(url).host
