"""The tree of errors is drawn at the top of their package."""

from __future__ import annotations

import importlib
import pkgutil

from flowyard import errors
from flowyard.errors.base import FlowyardError


def test_the_drawing_names_every_error_in_the_branch_of_its_module() -> None:
    branches: dict[str, str] = {"base": errors.__doc__ or ""}
    for name in ("requests", "steps", "runs", "services"):
        branches[name] = branches["base"].split(f"── {name}: ")[1].split("\n    ├── ")[0]
    for each in pkgutil.iter_modules(errors.__path__):
        module = importlib.import_module(f"flowyard.errors.{each.name}")
        for error in vars(module).values():
            is_error = isinstance(error, type) and issubclass(error, FlowyardError)
            if is_error and error.__module__ == module.__name__:
                assert error.__name__ in branches[each.name], f"{error.__name__} in {each.name}"
