"""What this machine adds to a document's checks: the same variables as the services of a stack read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flowyard.language.installation import Installation
from flowyard.llm.own_prices import NO_PRICES, PriceTable, read_prices
from flowyard_embedded.faults import WrongVariable

_PRICES = "FLOWYARD_PRICES"


def installation_of(environ: Mapping[str, str]) -> Installation:
    """Raises WrongVariable."""
    return Installation(has_price=prices_of(environ).has_price)


def prices_of(environ: Mapping[str, str]) -> PriceTable:
    """Raises WrongVariable."""
    text = _text(_PRICES, environ)
    try:
        return read_prices(text) if text else NO_PRICES
    except ValueError as error:
        raise WrongVariable(_PRICES, str(error)) from error


def _text(name: str, environ: Mapping[str, str]) -> str | None:
    file = environ.get(f"{name}_FILE")
    if not file:
        return environ.get(name)
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongVariable(f"{name}_FILE", f"can't read {file}: {error}") from error
