"""Sends notifications of ended runs, within the registry's process."""

from __future__ import annotations

import os
from pathlib import Path

from flowyard.notify.secrets import SigningSecrets, split_secrets
from flowyard.notify.sender import Sender, SenderParts
from flowyard.outbound.client import open_outbound
from flowyard.storage.notifications import Notifications
from flowyard.storage.runs import Runs
from flowyard_registry.parts import RegistryParts


async def send_notifications(parts: RegistryParts) -> None:
    """Runs until it is cancelled."""
    settings = parts.settings
    secrets = SigningSecrets(
        own=split_secrets(settings.webhook_secret.get_secret_value()),
        environ=os.environ,
        files=Path(settings.referenced_files) if settings.referenced_files else None,
        variables=settings.hook_variables,
    )
    async with open_outbound(os.environ, settings.outbound_allow) as client:
        sending = SenderParts(
            notifications=Notifications(parts.database),
            runs=Runs(parts.database),
            client=client,
            secrets=secrets,
            metrics=parts.metrics.notifications,
            chat_urls=settings.chat_urls,
        )
        await Sender(sending).run()
