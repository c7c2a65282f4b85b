"""Reads the bodies of webhooks, after they were verified. What can't be stored, or read in two ways, is refused."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from flowyard.containers import MOST_CONTAINERS, TooManyContainers
from flowyard.errors.requests import InvalidRequest, TooDense
from flowyard.exact_json import event_json, json_fault
from flowyard.webhooks.request import MOST_FIELDS, HookRequest

_FORM: Final = "application/x-www-form-urlencoded"
_ID: Final = re.compile("[!-~]{1,256}")


def is_form(request: HookRequest) -> bool:
    media_type = request.header("content-type") or ""
    return media_type.partition(";")[0].strip().lower() == _FORM


def read_payload(request: HookRequest, *, json_field: str | None = None) -> Any:
    """A form as a mapping, everything else as JSON; None if there is no body. Raises InvalidRequest, TooDense.

    `json_field`: the field of a form that holds the payload as JSON, if it is there.
    """
    if is_form(request):
        fields = read_form(request)
        whole = fields.get(json_field) if json_field else None
        return _json(whole.encode(), where=f"body.{json_field}") if isinstance(whole, str) else fields
    return _json(request.body, where="body") if request.body else None


def read_form(request: HookRequest) -> dict[str, str | list[str]]:
    """The fields by their names, those that are repeated as lists."""
    fields: dict[str, str | list[str]] = {}
    for name, values in form_values(request).items():
        fields[name] = values[0] if len(values) == 1 else values
    return fields


def form_values(request: HookRequest) -> dict[str, list[str]]:
    """All values of each field of a form, in their order. Raises InvalidRequest."""
    try:
        body = request.body.decode()
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except UnicodeDecodeError:
        raise _invalid("body", "it isn't UTF-8") from None
    except ValueError:
        raise _invalid("body", f"it has more than {MOST_FIELDS:,} fields") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in name + value:
            raise _invalid("body", "a field contains the character U+0000")
        values.setdefault(name, []).append(value)
    return values


def read_id(payload: Any, *names: str) -> str | None:
    """The first of these fields that can be the id of a delivery: a text that is short and visible, or a number."""
    for name in names if isinstance(payload, dict) else ():
        match payload.get(name):
            case int(number) if not isinstance(number, bool):
                return usable_id(str(number))
            case str(text) if usable_id(text):
                return text
    return None


def usable_id(text: str | None) -> str | None:
    """The id, or None if it is none: then another key has to be used."""
    return text if text is not None and _ID.fullmatch(text) else None


def objects(parent: Any, name: str, *, where: str) -> list[dict[str, Any]]:
    """The list of objects that a payload has in its field `name`, or nothing. Raises InvalidRequest."""
    values = parent.get(name, []) if isinstance(parent, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise _invalid(where, f"'{name}' should be a list of objects")
    return values


def _json(data: bytes, *, where: str) -> Any:
    try:
        return event_json(data)
    except TooManyContainers as error:
        raise TooDense(f"the webhook's {where}", error.count, limit=MOST_CONTAINERS) from error
    except (ValueError, RecursionError) as error:
        raise _invalid(where, json_fault(error)) from error


def _invalid(where: str, message: str) -> InvalidRequest:
    return InvalidRequest([{"where": where, "message": message}])
