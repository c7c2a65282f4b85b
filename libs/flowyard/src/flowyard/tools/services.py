"""What an installation gives to its tools: clients that are open, and the values of settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from flowyard.chats import slack
from flowyard.language.nodes import CodeLimits
from flowyard.tools.folders import NO_FOLDERS, Folders

if TYPE_CHECKING:
    from ssl import SSLContext

    from flowyard.outbound.client import OutboundClient


ExecuteCode: TypeAlias = Callable[[str, str, CodeLimits], Coroutine[Any, Any, tuple[str, str]]]
SearchProvider: TypeAlias = Literal["searxng", "brave", "serper", "tavily"]
RunProgram: TypeAlias = Callable[[str, Sequence[str], str, float], Awaitable[dict[str, Any]]]
"""Takes a name, arguments, what the program reads, and seconds. Raises ToolFailed."""
MailSecurity: TypeAlias = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchService:
    """`url`: empty for the usual address of the provider."""

    provider: SearchProvider
    url: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackService:
    """`webhook`: a URL that is a secret itself. `base`: the address of Slack's API."""

    token: str = field(default="", repr=False)
    webhook: str = field(default="", repr=False)
    base: str = slack.BASE


@dataclass(frozen=True, slots=True, kw_only=True)
class MailService:
    """A server of SMTP. `certificates`: whom to trust; None: whom this machine trusts."""

    host: str
    port: int
    security: MailSecurity
    sender: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    certificates: SSLContext | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.password, self.user


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServices:
    """What is None or empty isn't set up: a tool that needs it fails when it is called, and names the setting.

    `http`: for requests to addresses that documents and models choose; `trusted_http`: to those that settings name.
    `sql`: addresses of databases, with their secrets, by name. `folders`: in which files are read and written.
    `programs`: what sandboxes may execute, and `run_program`, which has it executed there.
    `run_code`: takes Python, its inputs as JSON, and its limits; returns the result as JSON, and what was printed, or
    raises CodeError.
    """

    http: OutboundClient | None = None
    trusted_http: OutboundClient | None = None
    search: SearchService | None = None
    slack: SlackService | None = None
    mail: MailService | None = None
    sql: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Folders = NO_FOLDERS
    programs: Mapping[str, str] = field(default_factory=dict)
    run_program: RunProgram | None = None
    run_code: ExecuteCode | None = None


NO_SERVICES: Final = ToolServices()
