"""What keeps the command line quick to start."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports without garbage collection: what they make stays, and looking through it takes a fifth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_command(name: str) -> Callable[[argparse.Namespace], int]:
    """Imported by name, so that a command pays only for what it imports itself."""
    with quick_imports():
        command = import_module(f"flowyard_embedded.commands.{name.replace('-', '_')}")
    execute: Callable[[argparse.Namespace], int] = command.execute
    return execute
