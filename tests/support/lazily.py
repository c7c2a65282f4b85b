"""Libraries that take long to import and that few tests use: each worker collects all tests, and would import them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final


class _Lazy:
    """Stands for what `load` returns, which is called when an attribute of it is first needed."""

    __test__: Final = False

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        # pytest asks everything that a test module has for marks of its own.
        if name.startswith("_") and name != "__file__":
            raise AttributeError(name)
        return getattr(self._load(), name)


def lazily(module: str) -> Any:
    return _Lazy(lambda: import_module(module))


litellm: Final[Any] = _Lazy(lambda: import_module("flowyard.llm.litellm_setup").litellm)
