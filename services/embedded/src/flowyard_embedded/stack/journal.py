"""Keeps `stack.json` as the stack is."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from flowyard_embedded.stack.ports import Ports
from flowyard_embedded.stack.services import url_of
from flowyard_embedded.stack.stack import Stack
from flowyard_embedded.stack.state import Phase, StackState, write_state


class Journal:
    def __init__(self, file: Path, stack: Stack, *, executors: int) -> None:
        self._file = file
        self._stack = stack
        now = datetime.now(UTC)
        self._state = StackState("starting", os.getpid(), version("flowyard"), now, None, None, executors, ())
        self.note()

    def note(self) -> None:
        """A part of the stack has changed."""
        write_state(self._file, replace(self._state, parts=self._stack.parts))

    def enter(self, phase: Phase) -> None:
        self._state = replace(self._state, phase=phase)
        self.note()

    def set_ports(self, ports: Ports) -> None:
        self._state = replace(self._state, gateway_url=url_of(ports.gateway), dashboard_url=url_of(ports.dashboard))
        self.note()
