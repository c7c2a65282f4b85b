"""What the shapes of a document are made of: the kinds of values, and how many there may be of each."""

from __future__ import annotations

import keyword
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from flowyard.language.values.durations import DURATION, read_duration

_WORDS: Final = r"(str|int|float|bool|date|datetime|message|any|object|list|dict|null|None)\b"
TYPE: Final[JsonDict] = {"pattern": rf"""^(\s*({_WORDS}|'[^']+'|"[^"]+"|[\[\],|?]))+\s*$"""}
"""The words of a type. A pattern can't express how they may be combined."""

FIELD_NAMES: Final[JsonDict] = {
    "propertyNames": {
        "pattern": r"^[^\s0-9!-/:-@\[-^`{-~][^\s!-/:-@\[-^`{-~]*$",
        "not": {"enum": ["state", "START", "END", "configurable", *keyword.kwlist]},
    }
}


def exclusive(*keys: str, **more: Any) -> ConfigDict:
    """Allows exactly one of the keys, in the JSON Schema only. The reader reports it with its own message."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in keys], **more})


MOST_FIELDS: Final = 2_000
"""Of the state, and of an object."""
MOST_NAMES: Final = 1_000
"""In one list of names: as many as a workflow may have nodes."""
MOST_EDGES: Final = 5_000
MOST_ROUTES: Final = 1_000
MOST_FALLBACKS: Final = 20
MOST_EXTRAS: Final = 100
MOST_EXAMPLES: Final = 100
MOST_CASES: Final = 10_000
MOST_CODE: Final = 65_536
"""Characters of the code of a node."""
MOST_TAGS: Final = 50
MOST_TOKENS: Final = 10_000_000
"""Of a history: more than any model takes."""
MOST_TURNS: Final = 100_000

IDENTIFIER: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

# Not Pydantic's own `deprecated`, which warns when our code reads the attribute.
OLD_KEY: Final[JsonDict] = {"deprecated": True}
# Tags of union members. Pydantic inserts them into the location of an error; no key of a document can equal them.
SHORT: Final = "\0short"
LONG: Final = "\0long"
FORMS: Final = frozenset({SHORT, LONG})


def form_of(value: Any) -> str:
    """The form of a value for a key that has a short and a long form."""
    return LONG if isinstance(value, dict) else SHORT


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    """A number as text: `version: 1.0` may be written without quotes."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _time_schema(**bounds: int) -> WithJsonSchema:
    """A number of seconds, or a text with units. A pattern can't express the bounds of the text."""
    return WithJsonSchema({"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": DURATION}]})


Identifier: TypeAlias = Annotated[str, Field(pattern=IDENTIFIER, max_length=64)]
Names: TypeAlias = Annotated[
    list[str],
    Field(min_length=1, max_length=MOST_NAMES),
    BeforeValidator(as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_NAMES},
            ]
        }
    ),
]
TextOrNumber: TypeAlias = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
]
Seconds: TypeAlias = Annotated[
    float,
    BeforeValidator(read_duration),
    Field(gt=0, le=31_536_000),
    _time_schema(exclusiveMinimum=0, maximum=31_536_000),
]
CodeSeconds: TypeAlias = Annotated[
    float, BeforeValidator(read_duration), Field(gt=0, le=60), _time_schema(exclusiveMinimum=0, maximum=60)
]
FirstDelay: TypeAlias = Annotated[
    float, BeforeValidator(read_duration), Field(ge=0, le=3600), _time_schema(minimum=0, maximum=3600)
]
LongestDelay: TypeAlias = Annotated[
    float, BeforeValidator(read_duration), Field(ge=0, le=86_400), _time_schema(minimum=0, maximum=86_400)
]
ErrorCode: TypeAlias = Literal[
    "rate_limited", "timeout", "provider_error", "invalid_output", "model_refused",
    "reply_cut_off", "refused", "filtered", "tool_error",
    "code_failed", "code_timeout", "code_memory", "code_crashed", "sandbox_unavailable",
]  # fmt: skip
RunErrorCode: TypeAlias = Literal[
    "rate_limited", "timeout", "provider_error", "invalid_output", "model_refused",
    "reply_cut_off", "refused", "filtered", "content_refused",
    "expression_error", "assertion_failed", "tool_error", "too_many_tool_rounds", "run_timeout",
    "parallel_writes", "budget_exceeded",
    "code_failed", "code_timeout", "code_memory", "code_crashed", "sandbox_unavailable",
]  # fmt: skip


class Shape(BaseModel):
    """Forbids unknown keys, so that typos are reported, and converts nothing: `'3'` isn't a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())
