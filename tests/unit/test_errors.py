"""The tree of errors is drawn at the top of their package."""

from __future__ import annotations

import importlib
import pkgutil

from flowyard import errors
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, InvalidRequest


def test_the_drawing_names_every_error_in_the_branch_of_its_module() -> None:
    branches: dict[str, str] = {"base": errors.__doc__ or ""}
    for name in ("requests", "steps", "runs", "services", "outbound", "webhooks"):
        branches[name] = branches["base"].split(f"── {name}: ")[1].split("\n    ├── ")[0]
    for each in pkgutil.iter_modules(errors.__path__):
        module = importlib.import_module(f"flowyard.errors.{each.name}")
        for error in vars(module).values():
            is_error = isinstance(error, type) and issubclass(error, FlowyardError)
            if is_error and error.__module__ == module.__name__:
                assert error.__name__ in branches[each.name], f"{error.__name__} in {each.name}"


def test_of_many_problems_the_first_are_told_and_the_number_of_the_others() -> None:
    many = [f"x{number}: isn't known" for number in range(40_000)]
    inputs, request = InvalidInputs(many), InvalidRequest([{"where": "body", "message": text} for text in many])
    assert inputs.problems == (*many[:50], "and 39,950 more problems")
    assert request.problems[-2:] == (
        {"where": "body", "message": many[49]},
        {"where": "request", "message": "and 39,950 more problems"},
    )
    assert len(inputs.message) < 5_000
    assert len(InvalidInputs(["x" * 1_000_000]).message) < 2_000
