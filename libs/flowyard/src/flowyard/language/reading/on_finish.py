"""The shape of `on_finish`, key by key."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from flowyard.language.on_finish import ENDS, Content, End
from flowyard.language.reading.keys import Shape, as_list
from flowyard.language.reading.triggers import References

_END: Final = {"enum": [*ENDS]}

Ends: TypeAlias = Annotated[
    list[End],
    Field(min_length=1, max_length=len(ENDS)),
    BeforeValidator(as_list),
    WithJsonSchema({"anyOf": [_END, {"type": "array", "items": _END, "minItems": 1, "maxItems": len(ENDS)}]}),
]


class ReceiverShape(Shape):
    """A webhook that is sent when a run has ended."""

    url: str = Field(min_length=1, description="Where it is sent: http:// or https://.")
    secret: References | None = Field(
        None, description="References to the secrets that sign it, ${env:NAME} or ${file:NAME}: whsec_…"
    )
    auth: Literal["none"] | None = Field(None, description="none: it isn't signed, so that anybody could send it.")
    status: Ends | None = Field(
        None, description="The ends that are reported: succeeded, failed, cancelled; all if left out."
    )
    include: Content | None = Field(None, description="outputs (default) or none: whether the run's outputs are sent.")
