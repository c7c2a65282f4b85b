"""Reads the bodies of submitted forms."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from flowyard_dashboard.parts import DashboardParts

BODY_FACTOR: Final = 4
"""Bytes of a form per byte of inputs: a form encodes most bytes with three, and its JSON is indented."""


def body_limit(parts: DashboardParts) -> int:
    return parts.settings.inputs_limit * BODY_FACTOR


async def read_form_body(parts: DashboardParts, request: Request) -> dict[str, str]:
    """The values of a submitted form by name. Raises TooLarge, HTTPException."""
    async with request.form(max_part_size=body_limit(parts)) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
