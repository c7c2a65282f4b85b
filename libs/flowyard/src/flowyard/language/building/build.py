"""DocumentShape → Workflow: gives every part its meaning and reports what has none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.building.budget import read_budget
from flowyard.language.building.cases import read_cases
from flowyard.language.building.edges import read_edges
from flowyard.language.building.flow_checks import check_flow
from flowyard.language.building.models import Models
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.nodes import read_node
from flowyard.language.building.secrets import check_secrets
from flowyard.language.building.state import read_fields
from flowyard.language.nodes import Node, RetryPolicy
from flowyard.language.problems import suggest
from flowyard.language.reading.document import VERSIONS, DocumentShape
from flowyard.language.reading.places import Path, Places, plain
from flowyard.language.reading.source import Mapping as MappingNode
from flowyard.language.reading.source import Scalar
from flowyard.language.workflow import Execution, Loop, Map, Workflow

MAX_WORKFLOW_NODES: Final = 1_000
_OF_A_SERVER: Final = ("durability", "concurrency", "priority", "max_attempts")
_OLD_OBSERVABILITY: Final = ("mlflow", "logging")


def build(shape: DocumentShape, places: Places) -> Workflow:
    """The workflow of a document. It may only be run if `places.problems` holds no error afterwards."""
    digest = digest_of(plain(places.root))
    _check_version(shape, places)
    _warn_of_old_keys(shape, places)
    fields = read_fields(shape, places)
    config = shape.config
    retry = _retry_policy(shape)
    models = Models(config.llm if config else None, places)
    edges = read_edges(shape, places, fields)
    maps = {way.target: way for way in edges.ways.values() if isinstance(way, Map)}
    context = NodeContext(
        places=places,
        fields=fields,
        models=models,
        retry=retry,
        maps=maps,
        loops=frozenset(source for source, way in edges.ways.items() if isinstance(way, Loop)),
        loose_items=edges.loose_items,
        names=edges.names,
    )
    nodes: dict[str, Node] = {}
    for i, node in enumerate(shape.nodes):
        nodes.setdefault(node.id, read_node(context, node, ("nodes", i)))
    if len(nodes) > MAX_WORKFLOW_NODES:
        message = f"a workflow has at most {MAX_WORKFLOW_NODES:,} nodes, this one has {len(nodes):,}"
        places.error("too-many-nodes", ("nodes",), message, "use a map over a list for many alike")
    else:
        check_flow(places, fields, nodes, edges)
    check_secrets(shape, places, fields, nodes, maps)
    cases = read_cases(shape, places, fields, nodes)
    return Workflow(
        name=shape.flow.name,
        digest=digest,
        fields=fields,
        nodes=nodes,
        ways=edges.ways,
        execution=_execution(shape, places),
        budget=read_budget(shape, places),
        cases=cases,
        description=shape.flow.description,
        version=_spelled(places, ("flow", "version")),
        tags=tuple(shape.flow.tags or ()),
        author=shape.flow.author,
    )


def digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 of the document's content: comments, quotes, order of keys and layout don't count."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _check_version(shape: DocumentShape, places: Places) -> None:
    if shape.schema_version is not None and shape.schema_version not in VERSIONS:
        message = f"no schema_version '{shape.schema_version}'"
        places.error("unknown-version", ("schema_version",), message, "write schema_version: '1.0', or leave it out")


def _spelled(places: Places, path: Path) -> str | None:
    """The text as it stands there: the number 1.10 would have lost its zero."""
    node = places.node(path)
    return node.text if places.has(path) and isinstance(node, Scalar) and node.value is not None else None


def _warn_of_old_keys(shape: DocumentShape, places: Places) -> None:
    if shape.webhook is not None:
        message = "'webhook' is now written under 'triggers', and has no effect here"
        places.warn("old-key", ("webhook",), message)
    if shape.config is None:
        return
    if shape.config.storage is not None:
        places.warn("old-key", ("config", "storage"), "'config.storage' has no effect: Flowyard keeps its runs itself")
    observability = places.node(("config", "observability"))
    if places.has(("config", "observability")) and isinstance(observability, MappingNode):
        for name, entry in observability.entries.items():
            _warn_of_observability(places, ("config", "observability", name), name, entry.value)


def _warn_of_observability(places: Places, path: Path, name: str, value: object) -> None:
    if name not in _OLD_OBSERVABILITY:
        hint = suggest(name, _OLD_OBSERVABILITY, "keys")
        places.error("unknown-key", path, f"no key '{name}' in 'observability'", hint, key=True)
        return
    for inner in value.entries if isinstance(value, MappingNode) else ():
        message = f"'config.observability.{name}.{inner}' has no effect: the installation decides, not the document"
        places.warn("old-key", (*path, inner), message)


def _retry_policy(shape: DocumentShape) -> RetryPolicy:
    execution = shape.config.execution if shape.config else None
    if execution is None or execution.max_retries is None:
        return RetryPolicy()
    return RetryPolicy(max_retries=execution.max_retries)


def _execution(shape: DocumentShape, places: Places) -> Execution:
    execution = shape.config.execution if shape.config else None
    if execution is None:
        return Execution()
    given = {
        name: getattr(execution, name) for name in ("timeout", *_OF_A_SERVER) if getattr(execution, name) is not None
    }
    for name in (name for name in _OF_A_SERVER if name in given):
        message = f"'{name}' concerns runs on a server; `flowyard run` makes one run, in memory"
        places.warn("server-only", ("config", "execution", name), message)
    return Execution(**given)
