"""The secret inputs of a run while it runs: the state holds only placeholders, never the secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flowyard.errors.runs import SecretsNotConfigured
from flowyard.secrets.masking import MASK
from flowyard.secrets.sealing import SecretBox


class Vault(Protocol):
    def open(self, name: str, value: str) -> str:
        """The secret of the field `name`, whose placeholder is `value`.

        Raises UnreadableSecret, SecretsNotConfigured.
        """


@dataclass(frozen=True, slots=True)
class InMemoryVault:
    """The vault of a run in one process: the placeholder is `***`."""

    values: Mapping[str, str] = field(repr=False)

    def open(self, name: str, value: str) -> str:
        return self.values[name] if value == MASK else value


@dataclass(frozen=True, slots=True)
class SealedVault:
    """The vault of a stored run: the placeholder is the sealed value. `box`: None if no key is configured."""

    workflow: str
    box: SecretBox | None = field(repr=False)

    def open(self, name: str, value: str) -> str:
        if self.box is None:
            raise SecretsNotConfigured(self.workflow)
        return self.box.open(value, workflow=self.workflow, name=name)
