"""The secrets of webhooks: references in documents, resolved when a request comes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flowyard.errors.webhooks import HookNotReady, UnusableWebhookSecret
from flowyard.language.installation import Variables
from flowyard.language.secret_references import has_reference, reference_fault, replace_references
from flowyard.language.triggers import Webhook
from flowyard.secrets.masking import Masker
from flowyard.secrets.referenced_files import referenced_text, what_is_missing
from flowyard.webhooks.generic import GenericOpen
from flowyard.webhooks.schemes import Scheme, scheme_of

_KEEP_S: Final = 1.0
"""How long the text of a file may be out of date."""
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Lock:
    """How a webhook is verified. `masker`: hides its secrets."""

    scheme: Scheme = field(repr=False)
    masker: Masker = field(repr=False)


class HookSecrets:
    """`environ`: where `${env:NAME}` leads, if `variables` allow it; `files`: the folder of `${file:NAME}`."""

    def __init__(
        self,
        environ: Mapping[str, str],
        variables: Variables,
        files: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self._variables = variables
        self._files = files
        self._clock = clock
        self._kept: OrderedDict[Webhook, tuple[float, Lock]] = OrderedDict()

    async def lock_of(self, webhook: Webhook) -> Lock:
        """Raises HookNotReady if a secret is missing or can't be used."""
        kept = self._kept.get(webhook)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        lock = await asyncio.to_thread(self._lock, webhook)
        self._kept[webhook] = self._clock() + _KEEP_S, lock
        self._kept.move_to_end(webhook)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return lock

    def _lock(self, webhook: Webhook) -> Lock:
        if webhook.is_open:
            return Lock(GenericOpen(), Masker(()))
        secrets, tokens = (tuple(map(self._value, texts)) for texts in (webhook.secrets, webhook.verify_tokens))
        try:
            scheme = scheme_of(webhook.sender, secrets, tokens)
        except UnusableWebhookSecret as error:
            raise HookNotReady(error.message) from error
        return Lock(scheme, Masker(() if webhook.sender == "discord" else (*secrets, *tokens)))

    def _value(self, text: str) -> str:
        if not has_reference(text):
            return text
        if (fault := reference_fault(text)) is not None:
            raise HookNotReady(fault)
        return replace_references(text, self._look_up)

    def _look_up(self, kind: str, name: str) -> str:
        if kind == "env" and not self._variables.allow(name):
            raise HookNotReady(f"webhooks may not name the variable {name}: see FLOWYARD_HOOK_VARIABLES")
        value = self._environ.get(name, "").strip() if kind == "env" else referenced_text(self._files, name)
        if not value:
            raise HookNotReady(what_is_missing(kind, name))
        return value
