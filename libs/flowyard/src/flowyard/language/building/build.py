"""Builds the Workflow from a DocumentShape, and reports what is wrong with its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.building.cases import read_cases
from flowyard.language.building.chats import let_callers_offer_tools
from flowyard.language.building.code_nodes import read_code_limits
from flowyard.language.building.edges import read_edges
from flowyard.language.building.expressions import possible_values
from flowyard.language.building.flow_checks import check_flow
from flowyard.language.building.mcp_servers import read_mcp_servers
from flowyard.language.building.models import ModelReader
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.nodes import read_node
from flowyard.language.building.on_finish import read_on_finish
from flowyard.language.building.result import read_result, warn_about_unused_fields
from flowyard.language.building.secrets import check_secrets
from flowyard.language.building.state import read_fields
from flowyard.language.building.tools import ToolReader
from flowyard.language.building.triggers import read_triggers
from flowyard.language.daily_budgets import daily_budget
from flowyard.language.flow import Flow
from flowyard.language.installation import Installation
from flowyard.language.nodes import Node, PromptNode, RetryPolicy, ToolNode
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.document import VERSIONS, BudgetShape, DocumentShape, ExecutionShape
from flowyard.language.reading.source import MappingNode, ScalarNode
from flowyard.language.reading.source_document import SourceDocument, to_data
from flowyard.language.workflow import Budget, Execution, Loop, Workflow, maps_of

MAX_WORKFLOW_NODES: Final = 1_000
_SERVER_ONLY: Final = ("durability", "concurrency", "priority", "max_attempts")
_OLD_OBSERVABILITY: Final = ("mlflow", "logging")


def build(shape: DocumentShape, document: SourceDocument, installation: Installation) -> Workflow:
    """The workflow of a document. It must not be run if `document.problems` has an error afterwards."""
    digest = digest_of(to_data(document.root))
    _check_version(shape, document)
    _warn_about_old_keys(shape, document)
    fields = read_fields(shape, document)
    config = shape.config
    execution = (config.execution if config else None) or ExecutionShape()
    models = ModelReader(config.llm if config else None, document, installation)
    values = possible_values(shape, fields)
    edges = read_edges(shape, document, fields, values)
    maps = maps_of(edges.transitions)
    context = NodeContext(
        document=document,
        fields=fields,
        values=values,
        models=models,
        tools=ToolReader(document, installation, read_mcp_servers(shape.mcp_servers, document, installation)),
        retry=RetryPolicy() if execution.max_retries is None else RetryPolicy(execution.max_retries),
        maps=maps,
        loops=frozenset(source for source, transition in edges.transitions.items() if isinstance(transition, Loop)),
        unresolved_items=edges.unresolved_items,
        names=edges.names,
        outputs={node.id: node.outputs or list(node.set_ or ()) for node in shape.nodes},
        code_bounds=installation.code_bounds,
        code_limits=read_code_limits(document, config, installation.code_bounds),
    )
    nodes = _read_nodes(shape, context)
    if not _has_too_many(document, nodes):
        check_flow(document, fields, nodes, edges)
    result = read_result(shape.result, document, fields)
    flow = Flow(nodes, edges.transitions)
    triggers = read_triggers(
        shape.triggers, document, fields, installation, name=shape.flow.name, result=result, flow=flow
    )
    let_callers_offer_tools(document, fields, nodes, triggers)
    check_secrets(shape, document, fields, nodes, maps)
    cases = read_cases(shape, document, fields, nodes)
    budget = _budget(config.budget, document) if config and config.budget else None
    _check_prices(models, budget, daily_budget(installation.daily_budgets, shape.flow.name))
    workflow = Workflow(
        name=shape.flow.name,
        digest=digest,
        fields=fields,
        nodes=nodes,
        transitions=edges.transitions,
        execution=_execution(execution, document, nodes),
        budget=budget,
        cases=cases,
        description=shape.flow.description,
        version=_as_written(document, ("flow", "version")),
        tags=tuple(shape.flow.tags or ()),
        author=shape.flow.author,
        result=result,
        triggers=triggers,
        on_finish=read_on_finish(shape.on_finish, document, installation),
    )
    warn_about_unused_fields(workflow, document)
    return workflow


def _has_too_many(document: SourceDocument, nodes: Mapping[str, Node]) -> bool:
    """Whether it has more nodes than a workflow may have, which is reported."""
    if len(nodes) <= MAX_WORKFLOW_NODES:
        return False
    message = f"a workflow has at most {MAX_WORKFLOW_NODES:,} nodes, this one has {len(nodes):,}"
    document.error("too-many-nodes", ("nodes",), message, "use a map over a list for many similar nodes")
    return True


def _read_nodes(shape: DocumentShape, context: NodeContext) -> dict[str, Node]:
    """Of several nodes with the same id, the first."""
    nodes: dict[str, Node] = {}
    for i, node in enumerate(shape.nodes):
        nodes.setdefault(node.id, read_node(context, node, ("nodes", i)))
    return nodes


def _check_durability(execution: ExecutionShape, document: SourceDocument, nodes: Mapping[str, Node]) -> None:
    """Nothing of a run with `exit` is on disk before its end: a tool would be called again after a crash."""
    calling = [node.id for node in nodes.values() if _has_tools(node)]
    if execution.durability == "exit" and calling:
        message = f"a workflow with tools, as '{calling[0]}' has, can't have durability: exit"
        document.error("exit-durability", ("config", "execution", "durability"), message, "write sync or async")


def _has_tools(node: Node) -> bool:
    return isinstance(node, ToolNode) or (isinstance(node, PromptNode) and bool(node.tools))


def _check_prices(models: ModelReader, budget: Budget | None, daily: Budget | None) -> None:
    """A limit in US dollars needs the prices of all models."""
    if budget is not None and budget.usd is not None:
        models.check_prices("config.budget.usd", "limit tokens instead")
    elif daily is not None and daily.usd is not None:
        models.check_prices("its daily budget", "let FLOWYARD_DAILY_BUDGETS limit tokens instead")


def digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 of the document's content, in hex. Comments, quotes, the order of keys and the layout don't count."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _check_version(shape: DocumentShape, document: SourceDocument) -> None:
    if shape.schema_version is not None and shape.schema_version not in VERSIONS:
        message = f"no schema_version '{shape.schema_version}'"
        document.error("unknown-version", ("schema_version",), message, "write schema_version: '1.0', or leave it out")


def _as_written(document: SourceDocument, path: KeyPath) -> str | None:
    """The text as it is written in the document: the number 1.10 would lose its zero."""
    node = document.node(path)
    return node.text if document.has(path) and isinstance(node, ScalarNode) and node.value is not None else None


def _warn_about_old_keys(shape: DocumentShape, document: SourceDocument) -> None:
    if shape.webhook is not None:
        message = "'webhook' has no effect here: it is now written as triggers: {NAME: {webhook: …}}"
        document.warn("old-key", ("webhook",), message)
    if shape.config is None:
        return
    if shape.config.storage is not None:
        document.warn("old-key", ("config", "storage"), "'config.storage' has no effect: Flowyard has its own database")
    observability = document.node(("config", "observability"))
    if document.has(("config", "observability")) and isinstance(observability, MappingNode):
        for name, entry in observability.entries.items():
            _warn_about_observability(document, ("config", "observability", name), name, entry.value)


def _warn_about_observability(document: SourceDocument, path: KeyPath, name: str, value: object) -> None:
    if name not in _OLD_OBSERVABILITY:
        hint = suggest(name, _OLD_OBSERVABILITY, "keys")
        document.error("unknown-key", path, f"no key '{name}' in 'observability'", hint, key=True)
        return
    for inner in value.entries if isinstance(value, MappingNode) else ():
        message = f"'config.observability.{name}.{inner}' has no effect: set it for the installation instead"
        document.warn("old-key", (*path, inner), message)


def _execution(shape: ExecutionShape, document: SourceDocument, nodes: Mapping[str, Node]) -> Execution:
    _check_durability(shape, document, nodes)
    given = shape.model_dump(exclude={"max_retries"}, exclude_none=True)
    for name in (name for name in _SERVER_ONLY if name in given):
        message = f"'{name}' has an effect on a server only: `flowyard run` executes the run in memory"
        document.warn("server-only", ("config", "execution", name), message)
    return Execution(**given)


def _budget(shape: BudgetShape, document: SourceDocument) -> Budget | None:
    """The budget; None if there is no limit."""
    if shape.usd is None and shape.tokens is None and shape.model_calls is None:
        return None
    usd = document.amount(("config", "budget", "usd"), shape.usd) if shape.usd is not None else None
    return Budget(usd, shape.tokens, shape.model_calls)
