"""Reads `on_finish`: who is notified when a run has ended."""

from __future__ import annotations

from collections.abc import Sequence

from flowyard.language.addresses import url_fault
from flowyard.language.building.hook_secrets import check_references, refuse_plain
from flowyard.language.installation import Installation
from flowyard.language.on_finish import ENDS, Receiver
from flowyard.language.problems import KeyPath
from flowyard.language.reading.on_finish import ReceiverShape
from flowyard.language.reading.source_document import SourceDocument

_HINT = "add secret: ${env:NAME_WEBHOOK_SECRET}, or auth: none if it needn't be verified"


def read_on_finish(
    shapes: Sequence[ReceiverShape] | None, document: SourceDocument, installation: Installation
) -> tuple[Receiver, ...]:
    """Reports what is wrong with them."""
    return tuple(_receiver(shape, document, installation, ("on_finish", i)) for i, shape in enumerate(shapes or ()))


def _receiver(shape: ReceiverShape, document: SourceDocument, installation: Installation, path: KeyPath) -> Receiver:
    if (fault := url_fault(shape.url)) is not None:
        document.error("invalid-value", (*path, "url"), f"'url' {fault}", "write https://HOST/PATH")
    if shape.auth is not None and shape.secret is not None:
        document.error(
            "invalid-value", (*path, "auth"), "'auth: none' contradicts 'secret'", "remove one of them", key=True
        )
    elif shape.auth is None and shape.secret is None and not document.has_removed_key(path):
        message = "its receiver couldn't verify that it comes from here: it needs 'secret'"
        document.error("missing-secret", path, message, _HINT, key=True)

    def plain(_text: str, where: KeyPath) -> None:
        refuse_plain(document, "secret", where)

    check_references(document, installation, shape.secret or (), (*path, "secret"), plain)
    return Receiver(
        url=shape.url,
        statuses=tuple(end for end in ENDS if shape.status is None or end in shape.status),
        include=shape.include or "outputs",
        secrets=tuple(shape.secret or ()),
        is_open=shape.auth == "none",
    )
