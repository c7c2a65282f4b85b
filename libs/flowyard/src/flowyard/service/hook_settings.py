"""The setting of services that know webhooks: set the same value for all."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.language.installation import Variables, read_variables

HookVariables: TypeAlias = Annotated[
    Variables,
    NoDecode,
    PlainValidator(read_variables),
    Field(
        description="Environment variables that webhooks may name in ${env:NAME}: "
        "names and patterns with *, separated by commas"
    ),
]
