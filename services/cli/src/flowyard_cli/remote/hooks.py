"""Signs a webhook as its sender does, and sends it to a gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from flowyard.api.client import Client
from flowyard.api.refusals import Unreachable
from flowyard.api.triggers import TriggerDetail
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, UnknownHook
from flowyard.language.problems import did_you_mean
from flowyard.language.secret_references import has_reference, replace_references
from flowyard.secrets.referenced_files import referenced_text
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.senders import Sender
from flowyard_cli.reading import read_bytes

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
_FILES: Final = "FLOWYARD_REFERENCED_FILES"


class NoSecret(FlowyardError, code="no_secret"):
    """The secret to sign with isn't known here."""


def read_payload_file(file: str) -> bytes:
    """`-` is standard input. Raises UnreadableFile."""
    return read_bytes(file)


def content_type_of(body: bytes) -> str:
    """What isn't JSON is a form."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return _FORM if body else _JSON
    return _JSON


def read_pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=VALUE each. Raises InvalidInputs."""
    faults = [f"{option} {text}: write NAME=VALUE" for text in texts if not text.partition("=")[0] or "=" not in text]
    if faults:
        raise InvalidInputs(faults)
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def trigger_at(client: Client, path: str) -> TriggerDetail:
    """The trigger of a webhook. Raises UnknownHook."""
    known = {trigger.path: trigger for trigger in client.triggers() if trigger.path is not None}
    if path not in known:
        raise UnknownHook(path, hint=did_you_mean(path, known))
    return client.trigger(known[path].workflow, known[path].name)


def secrets_to_sign_with(
    sender: Sender, references: Sequence[str], variable: str | None, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """`variable`: the environment variable that holds the secret; None: those that the document names.

    Raises NoSecret.
    """
    if variable is not None:
        if not environ.get(variable):
            raise NoSecret(f"the environment variable {variable} is missing or empty")
        return (environ[variable].strip(),)
    if sender == "discord":
        raise NoSecret("Discord signs with a private key: name its variable with --secret-env")

    def look_up(kind: str, name: str) -> str:
        files = environ.get(_FILES)
        value = environ.get(name) if kind == "env" else referenced_text(Path(files) if files else None, name)
        if not value:
            where = f"the environment variable {name}" if kind == "env" else f"the file {name}, in the folder {_FILES}"
            raise NoSecret(f"the document signs with {where}: set it here, too, or name another with --secret-env")
        return value.strip()

    return tuple(replace_references(text, look_up) for text in references if has_reference(text))


def send(request: HookRequest, *, to: str) -> httpx.Response:
    """`to`: the address, if it isn't that of the request, which may be signed. Raises Unreachable."""
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    try:
        with httpx.Client(trust_env=False, timeout=310) as http:
            return http.request(request.method, to, headers=headers, content=request.body)
    except httpx.TransportError as error:
        raise Unreachable(to, type(error).__name__) from error
