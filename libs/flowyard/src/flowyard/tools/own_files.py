"""An operator's own tools: the functions of the Python files in a folder. Their code is trusted, as ours is."""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from flowyard.language.tools import Effect
from flowyard.tools.own_functions import NoTool, tool_of
from flowyard.tools.tool import Tool

log = logging.getLogger(__name__)

NAME: Final = "own"
"""Of the source."""
_EFFECTS: Final = "EFFECTS"


@dataclass
class OwnTools:
    """`faults`: what can't be used, a line each, with the file and the line in it."""

    tools: list[Tool] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@cache
def load_own_tools(folder: Path) -> OwnTools:
    """Imports the files, which executes them, once per process; blocks as long as that takes.

    A file that fails doesn't stop the others. What can't be used is in the log, too.
    """
    own = _loaded(folder)
    for fault in own.faults:
        log.error("not a tool: %s", fault)
    return own


def _loaded(folder: Path) -> OwnTools:
    own = OwnTools()
    if str(folder.resolve()) not in sys.path:
        # At the end: a file of the folder never takes the place of another package.
        sys.path.append(str(folder.resolve()))
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("_"))
    except OSError as error:
        own.faults.append(f"{folder}: {error.strerror}")
        return own
    for path in files:
        try:
            module = _imported(path)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # anybody's code
            own.faults.append(f"{path}:{_line(error, path)}: {type(error).__name__}: {error}")
            continue
        for function, name in _functions(module, path.stem):
            try:
                own.tools.append(tool_of(function, name, effects=_effects(module)))
            except NoTool as error:
                own.faults.append(f"{path}:{function.__code__.co_firstlineno}: '{function.__name__}' {error}")
    return own


def _imported(path: Path) -> ModuleType:
    # A name of their own: `crm.py` is not the package crm.
    spec = spec_from_file_location(f"flowyard_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError("it can't be imported")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _functions(module: ModuleType, stem: str) -> Iterator[tuple[Callable[..., Any] | Any, str]]:
    for name, value in list(vars(module).items()):
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value, f"{stem}.{name}"


def _effects(module: ModuleType) -> Collection[Effect] | None:
    said = getattr(module, _EFFECTS, None)
    if said is not None and (isinstance(said, str) or not isinstance(said, Collection)):
        raise NoTool(f"{_EFFECTS} of its file should be a list")
    return said


def _line(error: BaseException, path: Path) -> int:
    """Where in the file the error comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return next((line for line in reversed(lines) if line is not None), 1)
