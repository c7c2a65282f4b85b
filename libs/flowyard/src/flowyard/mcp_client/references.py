"""Replaces `${env:NAME}` in headers and variables when a server is connected to: their values are in no document."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.language.installation import Variables
from flowyard.language.mcp_servers import McpServer, RemoteServer, values_of
from flowyard.language.secret_references import has_reference, header_fault, reference_fault, replace_references
from flowyard.tools.tool import ToolFailed


def resolved(server: McpServer, environ: Mapping[str, str], variables: Variables) -> dict[str, str]:
    """`variables`: those that a document may name. Raises ToolFailed, without any value."""
    return {name: _resolved(server, name, text, environ, variables) for name, text in values_of(server)}


def _resolved(server: McpServer, name: str, text: str, environ: Mapping[str, str], variables: Variables) -> str:
    of_document = isinstance(server, RemoteServer) and server.of_document
    where = f"the server '{server.name}': '{name}'"
    if (fault := reference_fault(text) if has_reference(text) else None) is not None:
        raise ToolFailed(f"{where}: {fault}")

    def look_up(kind: str, variable: str) -> str:
        if kind != "env":
            raise ToolFailed(f"{where}: only ${{env:NAME}} can be referred to")
        if of_document and not variables.allow(variable):
            allowed = variables.with_name(variable)
            raise ToolFailed(f"{where}: documents may not name {variable}: set FLOWYARD_DOCUMENT_VARIABLES={allowed}")
        if not (value := environ.get(variable)):
            raise ToolFailed(f"{where}: the variable {variable} isn't set")
        return value

    value = replace_references(text, look_up)
    if isinstance(server, RemoteServer) and header_fault(name, value) is not None:
        raise ToolFailed(f"{where}: its value has a character that no header can have")
    return value
