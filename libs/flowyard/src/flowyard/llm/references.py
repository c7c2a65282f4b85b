"""Resolves references in headers (`${env:NAME}`) when a call is made: their values are in no document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from flowyard.errors.steps import ModelRefused, VariableNotAllowed
from flowyard.language.installation import KEYS_AND_TOKENS, Variables
from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import (
    HEADERS,
    contains_reference,
    has_reference,
    header_fault,
    reference_fault,
    replace_references,
)
from flowyard.secrets.referenced_files import referenced_text, what_is_missing


@dataclass(frozen=True, slots=True)
class Sources:
    """Where references lead. `files`: the only folder that may be read; `variables`: those that may be named."""

    environ: Mapping[str, str] = field(repr=False)
    files: Path | None = None
    variables: Variables = KEYS_AND_TOKENS


def resolve(settings: ModelSettings, sources: Sources) -> tuple[ModelSettings, frozenset[str]]:
    """The settings with all references in their headers replaced, and the values that replaced them.

    Raises VariableNotAllowed, also for the variable of the key; ModelRefused.
    """
    if settings.api_key_env is not None:
        _require_allowed(settings, settings.api_key_env, sources.variables)
    if not settings.extra:
        return settings, frozenset()
    for name in HEADERS:
        _refuse_malformed(settings, settings.extra.get(name))
    names = [name for name in HEADERS if contains_reference(settings.extra.get(name))]
    if not names:
        return settings, frozenset()
    values: set[str] = set()
    extra = dict(settings.extra)
    for name in names:
        extra[name] = {
            header: _resolve_header(header, value, settings, sources, values) for header, value in extra[name].items()
        }
    return replace(settings, extra=extra), frozenset(values)


def _refuse_malformed(settings: ModelSettings, headers: Any) -> None:
    """Documents that were applied before this was checked may have such headers."""
    for header, value in headers.items() if isinstance(headers, Mapping) else ():
        if (fault := header_fault(str(header), value)) is not None:
            raise ModelRefused(fault, provider=settings.provider, model=settings.model)


def _resolve_header(header: str, value: Any, settings: ModelSettings, sources: Sources, values: set[str]) -> Any:
    if not has_reference(value):
        return value
    refuse = partial(_refused, settings, header)
    fault = reference_fault(value)
    if fault is not None:
        raise refuse(fault)

    def look_up(kind: str, name: str) -> str:
        if kind == "env":
            _require_allowed(settings, name, sources.variables)
        text = sources.environ.get(name) if kind == "env" else referenced_text(sources.files, name)
        if not text:
            raise refuse(what_is_missing(kind, name))
        if header_fault(header, text) is not None:
            raise refuse(f"{name} contains a character that no header can have")
        values.add(text)
        return text

    return replace_references(value, look_up)


def _require_allowed(settings: ModelSettings, name: str, variables: Variables) -> None:
    if not variables.allow(name):
        allowed = variables.with_name(name)
        raise VariableNotAllowed(provider=settings.provider, model=settings.model, variable=name, allowed=allowed)


def _refused(settings: ModelSettings, header: str, why: str) -> ModelRefused:
    return ModelRefused(f"the header '{header}': {why}", provider=settings.provider, model=settings.model)
