"""Reads the servers of MCP that a document names."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.language.addresses import url_fault
from flowyard.language.installation import Installation
from flowyard.language.mcp_servers import CALL_S, RemoteServer, name_fault
from flowyard.language.problems import KeyPath
from flowyard.language.reading.mcp_servers import McpServerShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.secret_references import header_fault, reference_fault, variables_in

_HINT = "write ${env:NAME}"


def read_mcp_servers(
    shapes: Mapping[str, McpServerShape] | None, document: SourceDocument, installation: Installation
) -> dict[str, RemoteServer]:
    """Reports what is wrong with them."""
    taken = {name.partition(".")[0] for name in installation.tools or ()} | set(installation.mcp_servers)
    servers = {}
    for name, shape in (shapes or {}).items():
        path: KeyPath = ("mcp_servers", name)
        if (fault := name_fault(name)) is not None:
            document.error("bad-name", path, fault, key=True)
        elif name in taken:
            message = f"'{name}' can't be the name of a server: this installation has tools whose names begin so"
            document.error("bad-name", path, message, f"write my_{name}", key=True)
        servers[name] = _server(name, shape, document, installation)
    return servers


def _server(name: str, shape: McpServerShape, document: SourceDocument, installation: Installation) -> RemoteServer:
    path: KeyPath = ("mcp_servers", name)
    if document.has((*path, "command")):
        message = "a document can't name a program: only an installation starts programs"
        hint = "let FLOWYARD_MCP_SERVERS name it, or write url: https://HOST/PATH"
        document.error("server-command", (*path, "command"), message, hint, key=True)
    elif shape.url is None:
        if not document.has_removed_key(path):
            document.error("missing-key", path, f"'{name}' needs the key 'url'", "add 'url:'", key=True)
    elif (fault := url_fault(shape.url)) is not None:
        document.error("invalid-value", (*path, "url"), f"'url' {fault}", "write https://HOST/PATH")
    check_headers(shape.headers, document, installation, (*path, "headers"))
    return RemoteServer(
        name=name,
        url=shape.url or "",
        headers=tuple((shape.headers or {}).items()),
        timeout=shape.timeout or CALL_S,
        tools=tuple(shape.allow or ("*",)),
        of_document=True,
    )


def check_headers(
    headers: Mapping[str, str] | None, document: SourceDocument, installation: Installation, path: KeyPath
) -> None:
    """Reports what no header can have, and references that documents may not make."""
    for header, value in (headers or {}).items():
        _check_header(header, value, document, installation, (*path, header))


def _check_header(header: str, value: str, document: SourceDocument, installation: Installation, path: KeyPath) -> None:
    if (fault := header_fault(header, value)) is not None:
        document.error("invalid-value", path, fault, "write it in one line")
    fault = reference_fault(value) or ("only ${env:NAME} can be referred to here" if "${file:" in value else None)
    if fault is not None:
        document.error("bad-reference", path, fault, _HINT)
        return
    for variable in variables_in(value):
        if not installation.variables.allow(variable):
            allowed = installation.variables.with_name(variable)
            hint = f"name another, or set FLOWYARD_DOCUMENT_VARIABLES={allowed}"
            document.error("variable-not-allowed", path, f"documents may not name the variable {variable}", hint)
