"""A workflow as responses show it: with its inputs, and its graph to draw."""

from __future__ import annotations

from dataclasses import asdict

from flowyard.api.described import graph_of, input_field
from flowyard.api.workflows import Graph, WorkflowDetail
from flowyard.language.load import Loaded
from flowyard.storage.workflows import Listed
from flowyard_registry.documents import document_problems


def workflow_detail(listed: Listed, document: str, loaded: Loaded) -> WorkflowDetail:
    """Without inputs and graph if this version refuses the document, which an older one accepted."""
    workflow = loaded.workflow
    return WorkflowDetail(
        **asdict(listed),
        description=workflow.description if workflow else None,
        version=workflow.version if workflow else None,
        tags=list(workflow.tags) if workflow else [],
        author=workflow.author if workflow else None,
        document=document,
        inputs=[input_field(field) for field in workflow.inputs.values()] if workflow else [],
        graph=graph_of(workflow) if workflow else Graph(nodes=[], edges=[]),
        problems=document_problems(listed.name, loaded.problems),
    )
