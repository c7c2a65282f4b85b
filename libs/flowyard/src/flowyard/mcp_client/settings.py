"""`FLOWYARD_MCP_SERVERS`: the servers of an installation, whose tools documents may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, ValidationError
from pydantic_settings import NoDecode

from flowyard.language.mcp_servers import CALL_S, MOST_SERVERS, LocalServer, McpServer, RemoteServer, name_fault
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.keys import Names, Seconds, Shape
from flowyard.language.reading.source import SourceError, decode, read_tree
from flowyard.language.reading.source_document import SourceDocument, to_data
from flowyard.language.secret_references import has_reference, header_fault, reference_fault
from flowyard.language.tools import Effect
from flowyard.outbound.allowlist import Allowlist, read_allowlist

_VARIABLE: Final = "FLOWYARD_MCP_SERVERS"
_WRAPPERS: Final = ("mcpServers", "mcp_servers")
"""The keys under which files for other clients have their servers."""
_HTTP: Final = ("http://", "https://")


class _ServerShape(Shape):
    command: str | None = Field(None, min_length=1)
    args: list[str] = Field(default_factory=list, max_length=1_000)
    env: dict[str, str] = Field(default_factory=dict, max_length=100)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)
    type: Literal["stdio", "http", "streamable-http"] | None = None
    timeout: Seconds = CALL_S
    allow: Names = Field(default_factory=lambda: ["*"])
    effects: list[Effect] | None = None
    trust: bool = False


class _Fault(Exception):
    def __init__(self, path: KeyPath, message: str, suggestion: str | None = None, *, key: bool = False) -> None:
        super().__init__(message)
        self.path = path
        self.suggestion = suggestion
        self.key = key


def read_mcp_servers(given: object) -> Mapping[str, McpServer]:
    """`given`: YAML or JSON, or the path of a file with it. Raises ValueError, which says where something is wrong."""
    if not isinstance(given, str):
        return given  # type: ignore[return-value]  # has been read
    name, text = _text(given.strip())
    if not text.strip():
        return {}
    try:
        tree = read_tree(text)
    except SourceError as error:
        raise ValueError(f"is wrong at {error.problem.render(name)}") from error
    document = SourceDocument(tree.root, tree.problems)
    try:
        if tree.problems:
            raise ValueError(f"is wrong at {tree.problems[0].render(name)}")
        return _servers(document)
    except _Fault as fault:
        at = document.key_position(fault.path) if fault.key else document.position(fault.path)
        hint = f" ({fault.suggestion})" if fault.suggestion else ""
        raise ValueError(f"is wrong at {name}:{at.line}:{at.column}: {fault}{hint}") from fault


def hosts_of(servers: Iterable[McpServer]) -> Allowlist:
    """Where the servers are: their addresses were chosen by who runs the installation."""
    hosts = (urlsplit(server.url).hostname or "" for server in servers if isinstance(server, RemoteServer))
    return read_allowlist(" ".join(hosts))


def _text(given: str) -> tuple[str, str]:
    """The name for messages, and what is to be read."""
    if given.startswith("{") or "\n" in given or ": " in given or not given:
        return _VARIABLE, given
    try:
        return Path(given).name, decode(Path(given).read_bytes())
    except OSError as error:
        raise ValueError(f"should be JSON, YAML, or a file of it: can't read {given}: {error.strerror}") from error
    except SourceError as error:
        raise ValueError(f"is wrong at {error.problem.render(Path(given).name)}") from error


def _servers(document: SourceDocument) -> dict[str, McpServer]:
    data = to_data(document.root)
    root: KeyPath = ()
    wrapper = next((key for key in _WRAPPERS if list(data) == [key]), None)
    if wrapper is not None:
        root, data = (wrapper,), data[wrapper]
    if not isinstance(data, dict):
        raise _Fault(root, "should be servers by their names")
    if len(data) > MOST_SERVERS:
        raise _Fault(root, f"there are {len(data)} servers; the limit is {MOST_SERVERS}")
    return {name: _server(name, each, (*root, name)) for name, each in data.items()}


def _server(name: str, data: Any, path: KeyPath) -> McpServer:
    if (fault := name_fault(name)) is not None:
        raise _Fault(path, fault, key=True)
    try:
        shape = _ServerShape.model_validate(data)
    except ValidationError as error:
        raise _shape_fault(error.errors(include_url=False)[0], path) from None
    if (shape.command is None) == (shape.url is None):
        raise _Fault(path, f"'{name}' needs either a command or a url", key=True)
    about: dict[str, Any] = {
        "name": name,
        "timeout": shape.timeout,
        "tools": tuple(shape.allow),
        "effects": frozenset(shape.effects) if shape.effects is not None else None,
        "trusted": shape.trust,
    }
    _check_values(shape.env, (*path, "env"))
    _check_values(shape.headers, (*path, "headers"), are_headers=True)
    if shape.command is not None:
        _forbid(shape, ("headers",), "a command", path)
        return LocalServer(
            command=shape.command, args=tuple(shape.args), env=tuple(shape.env.items()), cwd=shape.cwd, **about
        )
    _forbid(shape, ("args", "env", "cwd"), "a url", path)
    if not str(shape.url).startswith(_HTTP):
        raise _Fault((*path, "url"), "should begin with http:// or https://")
    server = RemoteServer(url=str(shape.url), headers=tuple(shape.headers.items()), **about)
    try:
        hosts_of([server])
    except ValueError as error:
        raise _Fault((*path, "url"), "its host can't be used") from error
    return server


def _shape_fault(fault: Any, path: KeyPath) -> _Fault:
    where, key = (*path, *fault["loc"]), str(fault["loc"][-1]) if fault["loc"] else str(path[-1])
    if fault["type"] == "extra_forbidden":
        return _Fault(where, f"no key '{key}'", suggest(key, _ServerShape.model_fields, "keys"), key=True)
    return _Fault(where, f"'{key}': {fault['msg'].removeprefix('Value error, ').lower()}")


def _forbid(shape: _ServerShape, keys: tuple[str, ...], what: str, path: KeyPath) -> None:
    for key in keys:
        if getattr(shape, key):
            raise _Fault((*path, key), f"a server with {what} has no '{key}'", "remove it", key=True)


def _check_values(values: Mapping[str, str], path: KeyPath, *, are_headers: bool = False) -> None:
    for name, value in values.items():
        fault = reference_fault(value) if has_reference(value) else None
        if fault is None and "${file:" in value:
            fault = "only ${env:NAME} can be referred to"
        if fault is None and are_headers:
            fault = header_fault(name, value)
        if fault is None and ("\0" in value or "=" in name or not name):
            fault = f"'{name}' can't be a variable"
        if fault is not None:
            raise _Fault((*path, name), fault)


McpServersSetting: TypeAlias = Annotated[
    Mapping[str, McpServer],
    NoDecode,
    PlainValidator(read_mcp_servers),
    Field(
        default_factory=dict,
        description="Servers of MCP whose tools documents may name, as JSON or YAML, or a file of it: "
        '{"github": {"url": "https://example.com/mcp"}, "notes": {"command": "notes-server", "args": ["--quiet"]}}',
    ),
]
