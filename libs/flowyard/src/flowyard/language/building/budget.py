"""`config.budget` → Budget."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from flowyard.language.reading.document import DocumentShape
from flowyard.language.reading.places import Places
from flowyard.language.reading.source import Scalar
from flowyard.language.workflow import Budget


def read_budget(shape: DocumentShape, places: Places) -> Budget | None:
    """None where nothing is limited."""
    given = shape.config.budget if shape.config else None
    if given is None or (given.usd is None and given.tokens is None and given.model_calls is None):
        return None
    usd = _exactly(places, given.usd) if given.usd is not None else None
    return Budget(usd, given.tokens, given.model_calls)


def _exactly(places: Places, amount: float) -> Decimal:
    """The amount as it is written: 0.1 is no binary fraction."""
    node = places.node(("config", "budget", "usd"))
    try:
        return Decimal(node.text) if isinstance(node, Scalar) else Decimal(str(amount))
    except InvalidOperation:
        return Decimal(str(amount))
