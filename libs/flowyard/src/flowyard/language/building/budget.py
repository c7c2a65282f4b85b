"""Reads `config.budget`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from flowyard.language.reading.document import DocumentShape
from flowyard.language.reading.source import ScalarNode
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.workflow import Budget


def read_budget(shape: DocumentShape, document: SourceDocument) -> Budget | None:
    """The budget; None if there is no limit."""
    given = shape.config.budget if shape.config else None
    if given is None or (given.usd is None and given.tokens is None and given.model_calls is None):
        return None
    usd = _exact(document, given.usd) if given.usd is not None else None
    return Budget(usd, given.tokens, given.model_calls)


def _exact(document: SourceDocument, amount: float) -> Decimal:
    """The amount as it is written in the document: a float can't represent 0.1 exactly."""
    node = document.node(("config", "budget", "usd"))
    try:
        return Decimal(node.text) if isinstance(node, ScalarNode) else Decimal(str(amount))
    except InvalidOperation:
        return Decimal(str(amount))
