"""Numbers and texts as people read them. Unknown is shown as unknown, never as zero."""

from __future__ import annotations

from decimal import Decimal

from flowyard.runs.events import Failure


def seconds(value: float) -> str:
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 99.5:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def money(value: Decimal | None) -> str:
    """US dollars; below a cent with six digits."""
    if value is None:
        return "unknown"
    if value == 0:
        return "$0"
    return f"${value:.6f}" if value < Decimal("0.01") else f"${value:.4f}"


def plural(number: int, noun: str, several: str = "") -> str:
    """`several`: the plural of the noun, if it isn't the noun and an s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def render_failure(failure: Failure) -> str:
    """The node, the message and the code. Some messages already name the node."""
    named = failure.node is None or f"node '{failure.node}'" in failure.message
    where = "" if named else f"node '{failure.node}': "
    return f"{where}{failure.message} [{failure.code}]"
