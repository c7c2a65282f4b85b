"""Sums as text, of which a part may be unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from flowyard_cli.show.format import plural

UNKNOWN: Final = "unknown"


def dollars(amount: str) -> str:
    """All digits, but at most two trailing zeros: `$0.0001`, `$3.50`, `$0`."""
    if Decimal(amount) == 0:
        return "$0"
    whole, _, rest = amount.partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def cost(known: str, unknown: int) -> str:
    """`known`: the sum of the known costs; `unknown`: the number of calls whose cost is unknown."""
    if not unknown:
        return dollars(known)
    if Decimal(known) == 0:
        return UNKNOWN
    return f"≥ {dollars(known)} ({plural(unknown, 'call')} unknown)"


def tokens(total: int | None, known: int) -> str:
    if total is not None:
        return f"{total:,}"
    return f"≥ {known:,}" if known else UNKNOWN


def percent(share: float) -> str:
    """Never rounded to 0 % or to 100 %."""
    text = f"{100 * share:.1f}"
    if share > 0 and text == "0.0":
        return "< 0.1 %"
    return "> 99.9 %" if share < 1 and text == "100.0" else f"{text} %"
