"""Imports whatever commands import sooner or later, apart from LiteLLM, which takes seconds and which few need."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from flowyard_cli import commands

for _name in (
    "flowyard.graph.cases",
    "flowyard.graph.compile",
    "flowyard_cli.failures",
    "flowyard_cli.local_run",
    "flowyard_cli.main",
    "flowyard_cli.remote.run",
    *(f"{commands.__name__}.{module.name}" for module in iter_modules(commands.__path__)),
):
    import_module(_name)
