"""The kinds of senders of webhooks."""

from __future__ import annotations

from typing import Literal, TypeAlias

Sender: TypeAlias = Literal[
    "generic", "bearer", "standard", "github", "slack", "stripe", "telegram", "whatsapp", "discord", "twilio"
]
