"""Reads `nats` of a trigger: which messages or requests start runs."""

from __future__ import annotations

from typing import Final

from flowyard.language.installation import Installation
from flowyard.language.message_subjects import LONGEST, MESSAGES, REQUESTS, covered, covers, is_subject
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import NatsShape
from flowyard.language.triggers import TRIES, WAIT_S, Messages, Requests

_OF_MESSAGES: Final = ("tries", "deduplicate")
_OF_REQUESTS: Final = ("wait",)
_LONGEST_WAIT_S: Final = 300.0


def read_messages(
    shape: NatsShape, document: SourceDocument, installation: Installation, path: KeyPath
) -> Messages | Requests | None:
    """None if it names no subject: that is reported."""
    if shape.subject is not None:
        if shape.request is not None:
            message = "'subject' is for messages and 'request' for requests: a trigger has one of them"
            document.error("wrong-kind", (*path, "request"), message, "make a trigger of each", key=True)
        _refuse_keys(shape, document, _OF_REQUESTS, path, belongs_to="request")
        _check_subject(shape.subject, document, (*path, "subject"), installation.subjects)
        return Messages(
            shape.subject, shape.tries or TRIES, only_by_id=shape.deduplicate == "id", is_text=shape.format == "text"
        )
    if shape.request is not None:
        _refuse_keys(shape, document, _OF_MESSAGES, path, belongs_to="subject")
        _check_request(shape.request, document, (*path, "request"))
        if shape.wait is not None and shape.wait > _LONGEST_WAIT_S:
            message = f"'wait' must be at most {_LONGEST_WAIT_S:g} seconds"
            document.error("out-of-range", (*path, "wait"), message)
        return Requests(shape.request, shape.wait or WAIT_S, is_text=shape.format == "text")
    if not document.has_removed_key(path):
        message = "messages need a subject"
        document.error("missing-key", path, message, f"add subject: {MESSAGES[:-1]}orders", key=True)
    return None


def _refuse_keys(
    shape: NatsShape, document: SourceDocument, keys: tuple[str, ...], path: KeyPath, *, belongs_to: str
) -> None:
    for key in keys:
        if getattr(shape, key) is not None:
            hint = f"it belongs to {belongs_to}"
            document.error("wrong-kind", (*path, key), f"'{key}' has no meaning here", hint, key=True)


def _check_subject(subject: str, document: SourceDocument, path: KeyPath, allowed: tuple[str, ...]) -> None:
    if not _is_subject(subject, document, path):
        return
    if covers(REQUESTS, subject):
        message = f"'{subject}' is a subject of requests: no stream keeps them"
        document.error("subject-not-allowed", path, message, f"write request: {subject}")
    elif not covered(allowed, subject):
        hint = f"write {MESSAGES[:-1]}{_last(subject)}, or add it to FLOWYARD_TRIGGER_SUBJECTS"
        message = f"messages of '{subject}' aren't kept for triggers"
        document.error("subject-not-allowed", path, message, hint)


def _check_request(subject: str, document: SourceDocument, path: KeyPath) -> None:
    if _is_subject(subject, document, path) and not covers(REQUESTS, subject):
        message = f"requests to '{subject}' aren't received"
        document.error("subject-not-allowed", path, message, f"write {REQUESTS[:-1]}{_last(subject)}")


def _is_subject(subject: str, document: SourceDocument, path: KeyPath) -> bool:
    if is_subject(subject):
        return True
    message = f"'{subject[:LONGEST]}' can't be a subject of NATS"
    hint = "write words of letters, digits, _ and -, with dots between; * is any word, > any words at the end"
    document.error("bad-name", path, message, hint)
    return False


def _last(subject: str) -> str:
    words = subject.split(".")
    return words[-1] if words[-1] not in (">", "*") else ".".join(words[-2:])
