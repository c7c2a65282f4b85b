"""What this machine adds to a document's checks: the same variables as the services of a stack read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from flowyard.language.daily_budgets import read_daily_budgets
from flowyard.language.installation import HOOK_SECRETS, KEYS_AND_TOKENS, Installation, Variables, read_variables
from flowyard.language.mcp_servers import McpServer
from flowyard.language.message_subjects import MESSAGES, read_subjects
from flowyard.language.tools import NO_RULES, ToolRules, read_rules
from flowyard.llm.calls import REPLY_LIMIT
from flowyard.llm.own_prices import NO_PRICES, PriceTable, read_prices
from flowyard.llm.providers import read_litellm_providers
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.sources import ToolSource
from flowyard.tools.tool import Tool
from flowyard_embedded.faults import WrongVariable

if TYPE_CHECKING:
    from flowyard.service.tool_settings import ToolSettings

_PRICES: Final = "FLOWYARD_PRICES"
_DAILY_BUDGETS: Final = "FLOWYARD_DAILY_BUDGETS"
_VARIABLES: Final = "FLOWYARD_DOCUMENT_VARIABLES"
_HOOK_VARIABLES: Final = "FLOWYARD_HOOK_VARIABLES"
_SUBJECTS: Final = "FLOWYARD_TRIGGER_SUBJECTS"
_REPLY_LIMIT: Final = "FLOWYARD_REPLY_LIMIT"
_LITELLM: Final = "FLOWYARD_LITELLM"
_MCP_SERVERS: Final = "FLOWYARD_MCP_SERVERS"
_TOOL_RULES: Final = "FLOWYARD_TOOL_RULES"
_TOOLS: Final = "FLOWYARD_TOOLS"
_OPENAPI: Final = "FLOWYARD_OPENAPI"
_Value = TypeVar("_Value")


def installation_of(environ: Mapping[str, str]) -> Installation:
    """Raises WrongVariable."""
    return Installation(
        has_price=prices_of(environ).has_price,
        variables=variables_of(environ),
        hook_variables=hook_variables_of(environ),
        subjects=_read(_SUBJECTS, environ, read_subjects, (MESSAGES,)),
        daily_budgets=_read(_DAILY_BUDGETS, environ, read_daily_budgets, {}),
        tools=known_tools(environ).facts,
        tool_rules=tool_rules_of(environ),
        mcp_servers=mcp_servers_of(environ),
    )


def tool_rules_of(environ: Mapping[str, str]) -> ToolRules:
    """Raises WrongVariable."""
    return _read(_TOOL_RULES, environ, read_rules, NO_RULES)


def known_tools(environ: Mapping[str, str]) -> ToolRegistry:
    """The tools of this machine, of which those that need a client fail. Raises WrongVariable.

    Those of FLOWYARD_TOOLS are imported: their code is executed.
    """
    folder = environ.get(_TOOLS)
    if any(environ.get(name) for name in (_OPENAPI, f"{_OPENAPI}_FILE")):
        return ToolRegistry(_described_tools(environ.get(_OPENAPI), folder))
    if not folder:
        return ToolRegistry()
    if not Path(folder).is_dir():
        raise WrongVariable(_TOOLS, f"should be a folder, not {folder!r}")
    # Inline: most installations have no tools of their own.
    from flowyard.tools.own_files import NAME, load_own_tools  # noqa: PLC0415

    return ToolRegistry(sources=[ToolSource(NAME, load_own_tools(Path(folder)).tools)])


@cache
def _described_tools(openapi: str | None, folder: str | None) -> tuple[Tool, ...]:
    """By the variables of this process. In a thread: there may be an event loop in this one."""
    del openapi, folder

    async def tools_now() -> tuple[Tool, ...]:
        async with open_own_tools() as tools:
            return tuple(tools)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, tools_now()).result()


def mcp_servers_of(environ: Mapping[str, str]) -> Mapping[str, McpServer]:
    """Raises WrongVariable."""
    if not any(environ.get(name) for name in (_MCP_SERVERS, f"{_MCP_SERVERS}_FILE")):
        return {}
    # Inline: it reads settings, which takes a tenth of a second to be imported.
    from flowyard.mcp_client.settings import read_mcp_servers  # noqa: PLC0415

    return _read(_MCP_SERVERS, environ, read_mcp_servers, {})


@asynccontextmanager
async def open_own_tools(*, needed: bool = True) -> AsyncIterator[ToolRegistry]:
    """The tools of this machine, by the variables of this process. Raises WrongVariable.

    `needed`: else only the names are there, and nothing is opened.
    """
    if not needed:
        yield known_tools(os.environ)
        return
    # Inline: most commands call no tool, and don't wait for these imports.
    from flowyard.service.tool_settings import open_tools  # noqa: PLC0415

    async with open_tools(_tool_settings(), os.environ, variables_of(os.environ)) as tools:
        yield tools


def _tool_settings() -> ToolSettings:
    from flowyard.service.tool_settings import ToolSettings  # noqa: PLC0415
    from flowyard.settings import InvalidSettings, load_settings  # noqa: PLC0415

    try:
        return load_settings(ToolSettings)
    except InvalidSettings as error:
        name, _, reason = error.lines[0].partition(" ")
        raise WrongVariable(name.rstrip(":"), reason) from error


def prices_of(environ: Mapping[str, str]) -> PriceTable:
    """Raises WrongVariable."""
    return _read(_PRICES, environ, read_prices, NO_PRICES)


def reply_limit_of(environ: Mapping[str, str]) -> int:
    """Most bytes of a model's reply. Raises WrongVariable."""
    return _read(_REPLY_LIMIT, environ, _positive, REPLY_LIMIT)


def litellm_of(environ: Mapping[str, str]) -> frozenset[str]:
    """The providers that LiteLLM calls. Raises WrongVariable."""
    return _read(_LITELLM, environ, read_litellm_providers, frozenset())


def variables_of(environ: Mapping[str, str]) -> Variables:
    """Raises WrongVariable."""
    return _read(_VARIABLES, environ, read_variables, KEYS_AND_TOKENS)


def hook_variables_of(environ: Mapping[str, str]) -> Variables:
    """Those that webhooks may name. Raises WrongVariable."""
    return _read(_HOOK_VARIABLES, environ, read_variables, HOOK_SECRETS)


def _positive(text: str) -> int:
    number = int(text) if text.strip().isdecimal() else 0
    if number <= 0:
        raise ValueError(f"should be a whole number above 0, not {text[:40]!r}")
    return number


def _read(name: str, environ: Mapping[str, str], read: Callable[[str], _Value], default: _Value) -> _Value:
    text = _text(name, environ)
    try:
        return read(text) if text else default
    except ValueError as error:
        raise WrongVariable(name, str(error)) from error


def _text(name: str, environ: Mapping[str, str]) -> str | None:
    file = environ.get(f"{name}_FILE")
    if not file:
        return environ.get(name)
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongVariable(f"{name}_FILE", f"can't read {file}: {error}") from error
