"""Where the secret inputs of a run are while it runs: its state holds what stands for them, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flowyard.errors import SecretsNotConfigured
from flowyard.masking import MASK
from flowyard.sealing import Box


class Vault(Protocol):
    def open(self, name: str, value: str) -> str:
        """The secret for which `value` stands in the field `name`. Raises UnreadableSecret, SecretsNotConfigured."""


@dataclass(frozen=True, slots=True)
class InMemoryVault:
    """Of a run in one process: its state says `***`."""

    values: Mapping[str, str] = field(repr=False)

    def open(self, name: str, value: str) -> str:
        return self.values[name] if value == MASK else value


@dataclass(frozen=True, slots=True)
class SealedVault:
    """Of a stored run: its state has the sealed values. `box`: None where there is no key."""

    workflow: str
    box: Box | None = field(repr=False)

    def open(self, name: str, value: str) -> str:
        if self.box is None:
            raise SecretsNotConfigured(self.workflow)
        return self.box.open(value, workflow=self.workflow, name=name)
