"""The setting `FLOWYARD_SHELL_PROGRAMS`: which programs tools may execute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def read_programs(text: Any) -> Mapping[str, str]:
    """`jq=/usr/bin/jq, sort=/usr/bin/sort` → paths by name. Raises ValueError."""
    if not isinstance(text, str):
        return dict(text)
    programs: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, path = (each.strip() for each in part.partition("="))
        if _NAME.fullmatch(name) is None or not Path(path).is_absolute():
            raise ValueError(f"should be name=/path/of/the/program, separated by commas, not '{part}'")
        if name in programs:
            raise ValueError(f"has the name '{name}' twice")
        programs[name] = path
    return programs


ShellPrograms: TypeAlias = Annotated[Mapping[str, str], NoDecode, PlainValidator(read_programs)]


class ShellSettings(Settings):
    """Of executors and of sandboxes: a program has to be named to both."""

    shell_programs: ShellPrograms = Field(
        default_factory=dict,
        description="Programs that the tool shell.run may execute in sandboxes: jq=/usr/bin/jq, sort=/usr/bin/sort",
    )
