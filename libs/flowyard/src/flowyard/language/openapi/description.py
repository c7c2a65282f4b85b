"""Reads the operations of an HTTP API from its description, OpenAPI 3.0 or 3.1: each becomes a tool."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

from flowyard.language.openapi.arguments import FlatArguments, NoOperation, Placed, arguments_of
from flowyard.language.openapi.references import BadReference, References
from flowyard.language.problems import suggest
from flowyard.language.tools import Effect, ToolFacts, name_fault

ADDRESS: Final = "address of the request"
"""What patterns of permissions are compared with: no argument, but made of them."""
MOST_OPERATIONS: Final = 200
MOST_SCHEMA: Final = 20_000
"""Characters of the JSON Schema of an operation's arguments: models get it with each question."""
_LONGEST: Final = 1_000
_READS: Final = ("get", "head")
_METHODS: Final = (*_READS, "post", "put", "patch", "delete")
_NOT_REPEATABLE: Final = ("post", "patch")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """`url`: with `{name}` for the arguments of the path. `placed`: where each argument goes. `media`: of the body."""

    facts: ToolFacts
    method: str
    url: str
    placed: Mapping[str, Placed]
    media: str | None


@dataclass
class Api:
    """`faults`: why some operations can't be tools."""

    name: str
    operations: list[Operation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class BadDescription(ValueError):
    """A description can't be read. The text says why."""


def read_api(
    document: Any, *, name: str | None, operations: Collection[str] | None, server: str | None, source: str | None
) -> Api:
    """`name`: of its tools, instead of the title. `operations`: their ids; None: all. `server`: instead of its own.

    `source`: the address of the description, which that of its server may be relative to. Raises BadDescription.
    """
    if not isinstance(document, Mapping) or not str(document.get("openapi", "")).startswith(("3.0", "3.1")):
        raise BadDescription("it should be an OpenAPI description, of version 3.0 or 3.1")
    info = document.get("info")
    api = Api(name or _short(str(info.get("title", "")) if isinstance(info, Mapping) else "") or "api")
    reader, ids = _Reader(document, References(document), api.name, server, source), list[str]()
    for path, item, method, given in _all(document, reader.references):
        operation_id = str(given.get("operationId") or f"{method}_{_short(path)}")
        ids.append(operation_id)
        if operations is not None and operation_id not in operations:
            continue
        if len(api.operations) >= MOST_OPERATIONS:
            raise BadDescription(f"it has more than {MOST_OPERATIONS} operations: name those that are needed")
        try:
            api.operations.append(reader.operation(operation_id, path, item, method, given))
        except (NoOperation, BadReference) as error:
            api.faults.append(f"{operation_id}: {error}")
    for missing in sorted(set(operations or ()).difference(ids)):
        api.faults.append(f"no operation '{missing}' ({suggest(missing, ids, 'operations')})")
    return api


_Given: TypeAlias = Mapping[str, Any]


def _all(document: _Given, references: References) -> Iterator[tuple[str, _Given, str, _Given]]:
    """The path, what is said of it, the method, what is said of the operation."""
    paths = document.get("paths")
    for path, given in paths.items() if isinstance(paths, Mapping) else ():
        try:
            item = references.resolved(given)
        except BadReference as error:
            raise BadDescription(f"{path}: {error}") from error
        for method in _METHODS:
            if isinstance(operation := item.get(method), Mapping):
                yield str(path), item, method, operation


@dataclass(frozen=True, slots=True)
class _Reader:
    document: _Given
    references: References
    name: str
    server: str | None
    source: str | None

    def operation(self, operation_id: str, path: str, item: _Given, method: str, given: _Given) -> Operation:
        name = f"{self.name}.{re.sub(r'[^A-Za-z0-9_-]+', '_', operation_id).strip('_')}"
        if (fault := name_fault(name)) is not None:
            raise NoOperation(fault)
        arguments = arguments_of(self.references, item, given)
        effects: set[Effect] = {"network"} if method in _READS else {"network", "writes"}
        facts = ToolFacts(
            name=name,
            description=_text(given) or f"{method.upper()} {path}",
            parameters=_storable(arguments),
            effects=frozenset(effects),
            guarded=ADDRESS,
            once=method in _NOT_REPEATABLE,
        )
        url = self._server(item, given).rstrip("/") + path
        return Operation(facts, method.upper(), url, arguments.placed, arguments.media)

    def _server(self, item: _Given, given: _Given) -> str:
        if self.server is not None:
            return self.server
        servers = given.get("servers") or item.get("servers") or self.document.get("servers")
        first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], Mapping) else {}
        url, variables = str(first.get("url") or "/"), first.get("variables") or {}
        for variable in _VARIABLE.findall(url):
            url = url.replace(f"{{{variable}}}", str(variables.get(variable, {}).get("default", "")))
        if self.source is not None:
            url = urljoin(self.source, url)
        if not url.startswith(("http://", "https://")):
            raise NoOperation(f"its server, '{url[:100]}', is no address: write 'server' beside 'openapi'")
        return url


def _storable(arguments: FlatArguments) -> Any:
    """Of JSON: YAML knows dates, and numbers that JSON doesn't. Raises NoOperation."""
    text = json.dumps(arguments.schema, default=str)
    if len(text) > MOST_SCHEMA:
        raise NoOperation(f"the schema of its arguments has more than {MOST_SCHEMA:,} characters")
    return json.loads(text, parse_constant=lambda _: None)


def _short(title: str) -> str:
    """A title as the beginning of names: `Swagger Petstore` is `swagger_petstore`."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_").lstrip("0123456789_")[:30].strip("_")


def _text(given: _Given) -> str:
    parts = (str(given.get(key) or "").strip() for key in ("summary", "description"))
    text = "\n\n".join(dict.fromkeys(part for part in parts if part))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
