"""Numbers and texts as people read them. Unknown is shown as unknown, never as zero."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

UNKNOWN: Final = "unknown"


def seconds(value: float) -> str:
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 99.5:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def money(value: Decimal | None) -> str:
    """US dollars; below a cent with six digits."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "$0"
    return f"${value:.6f}" if value < Decimal("0.01") else f"${value:.4f}"


def plural(number: int, noun: str, several: str = "") -> str:
    """`several`: the plural of the noun, if it isn't the noun and an s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


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
