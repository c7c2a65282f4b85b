"""Looks at a workflow that somebody is writing, without applying it."""

from __future__ import annotations

import logging

from flowyard.access import Caller
from flowyard.api.drafts import DraftRequest, DraftView
from flowyard.drafts.cost import known_prices
from flowyard.drafts.testing import run_draft_tests
from flowyard.drafts.view import draft_view, read_draft
from flowyard.threads import in_daemon_thread
from flowyard_registry.apply import installation_of
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)


async def look_at_draft(parts: RegistryParts, request: DraftRequest, caller: Caller) -> bytes:
    """The JSON of a DraftView. Raises TooBusy."""
    installation, prices = await installation_of(parts, caller), known_prices(parts.settings.prices)
    # Not among the other checks: tests may take seconds, and nobody who applies a document has to wait for them.
    async with parts.drafts.turn():
        draft = await in_daemon_thread(lambda: read_draft(request.text, request.last, installation))
        document = draft.to_test
        tests = await run_draft_tests(parts.bus, document) if document is not None else []
        if tests is None:
            log.warning("the tests of a draft weren't run: no executor answered")
        return await in_daemon_thread(lambda: _encoded(draft_view(draft, tests, prices)))


def _encoded(view: DraftView) -> bytes:
    """Beside the event loop, too: there may be a thousand nodes and tests."""
    return view.model_dump_json().encode()
