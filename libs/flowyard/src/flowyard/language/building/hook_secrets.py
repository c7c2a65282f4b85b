"""Checks the references to secrets of webhooks, those that come and those that are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowyard.language.installation import Installation
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source import SequenceNode
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.secret_references import has_reference, reference_fault, variables_in

REFERENCE_HINT = "write ${env:NAME} or ${file:NAME}"


def check_references(
    document: SourceDocument,
    installation: Installation,
    texts: Sequence[str],
    path: KeyPath,
    plain: Callable[[str, KeyPath], None],
) -> None:
    """Reports what is wrong with references. `plain`: for a text that contains none."""
    is_list = isinstance(document.node(path), SequenceNode)
    for i, text in enumerate(texts):
        where = (*path, i) if is_list else path
        if (fault := reference_fault(text)) is not None:
            document.error("bad-reference", where, fault, REFERENCE_HINT)
        elif has_reference(text):
            for variable in variables_in(text):
                _check_variable(document, installation, variable, where)
        else:
            plain(text, where)


def refuse_plain(document: SourceDocument, key: str, where: KeyPath) -> None:
    message = f"'{key}' must be a reference: everybody can read a document"
    document.error("bad-reference", where, message, REFERENCE_HINT)


def _check_variable(document: SourceDocument, installation: Installation, name: str, where: KeyPath) -> None:
    variables = installation.hook_variables
    if not variables.allow(name):
        hint = f"name another, or set FLOWYARD_HOOK_VARIABLES={variables.with_name(name)}"
        document.error("variable-not-allowed", where, f"webhooks may not name the variable {name}", hint)
