"""What comes with a form."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from flowyard_dashboard.parts import DashboardParts

BODY_PER_INPUT: Final = 4
"""A form spells most bytes with three, and JSON is indented."""


def body_limit(parts: DashboardParts) -> int:
    return parts.settings.inputs_limit * BODY_PER_INPUT


async def read(parts: DashboardParts, request: Request) -> dict[str, str]:
    """The form's values by their names. Raises TooLarge, HTTPException."""
    async with request.form(max_part_size=body_limit(parts)) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
