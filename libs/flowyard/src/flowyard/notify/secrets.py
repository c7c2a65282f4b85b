"""The secrets that sign notifications: those of documents, by their references, and the installation's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, SecretStr

from flowyard.errors.webhooks import MissingWebhookSecret, UnusableWebhookSecret
from flowyard.language.installation import HOOK_SECRETS, Variables
from flowyard.language.on_finish import Receiver
from flowyard.language.secret_references import replace_references
from flowyard.secrets.referenced_files import referenced_text, what_is_missing
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.standard import sign

SETTING: Final = "FLOWYARD_WEBHOOK_SECRET"
NO_SECRET: Final = (
    f"{SETTING} isn't set, for the gateway and the registry: `whsec_` and 24 or more random bytes in Base64"
)


def split_secrets(text: str) -> tuple[str, ...]:
    """Of several secrets, separated by blanks or commas, all sign: so that receivers can change to a new one."""
    return tuple(text.replace(",", " ").split())


def _usable(given: SecretStr) -> SecretStr:
    nothing = HookRequest("POST", "", (), b"")
    try:
        sign(nothing, secrets=split_secrets(given.get_secret_value()), now=datetime.now(UTC), delivery_id="test")
    except UnusableWebhookSecret as error:
        raise ValueError(str(error).removeprefix("the secret of the webhook ")) from None
    return given


WebhookSecret: TypeAlias = Annotated[
    SecretStr,
    AfterValidator(_usable),
    Field(
        description="Signs notifications to receivers that callers name: whsec_ and 24 or more random bytes in Base64. "
        "Of several, separated by commas, all sign"
    ),
]


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """`files`: the only folder that may be read; `variables`: those that documents may name; `own`: for callers."""

    own: tuple[str, ...] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    files: Path | None = None
    variables: Variables = HOOK_SECRETS

    def of(self, receiver: Receiver) -> tuple[str, ...]:
        """What signs for it; nothing if it needs no signature. Raises MissingWebhookSecret."""
        if receiver.is_open:
            return ()
        if not receiver.secrets and not self.own:
            raise MissingWebhookSecret(NO_SECRET)
        return tuple(map(self.resolved, receiver.secrets)) or self.own

    def resolved(self, text: str) -> str:
        """A text with its references replaced. Raises MissingWebhookSecret."""
        return replace_references(text, self._look_up)

    def _look_up(self, kind: str, name: str) -> str:
        if kind == "env" and not self.variables.allow(name):
            raise MissingWebhookSecret(f"FLOWYARD_HOOK_VARIABLES doesn't allow the variable {name}")
        text = self.environ.get(name) if kind == "env" else referenced_text(self.files, name)
        if not text:
            raise MissingWebhookSecret(what_is_missing(kind, name, of=" of the registry"))
        return text.strip()
