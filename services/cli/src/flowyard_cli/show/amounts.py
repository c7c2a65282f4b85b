"""Sums of which a part may be unknown, as people read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from flowyard_cli.show.format import plural

UNKNOWN: Final = "unknown"


def dollars(amount: str) -> str:
    """Every digit of it, without zeros that say nothing: `$0.0001`, `$3.50`, `$0`."""
    if Decimal(amount) == 0:
        return "$0"
    whole, _, rest = amount.partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def cost(known: str, unknown: int) -> str:
    """`known`: what the calls came to whose cost is known; `unknown`: how many others there were."""
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
    """Neither all nor nothing unless it is."""
    text = f"{100 * share:.1f}"
    if share > 0 and text == "0.0":
        return "< 0.1 %"
    return "> 99.9 %" if share < 1 and text == "100.0" else f"{text} %"
