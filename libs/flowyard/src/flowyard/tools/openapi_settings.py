"""`FLOWYARD_OPENAPI`: the HTTP APIs of an installation, whose operations documents may name as tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_settings import NoDecode

from flowyard.language.secret_references import header_fault, reference_fault

_HTTP: Final = ("http://", "https://")


class ApiSettings(BaseModel):
    """`openapi`: the address or the file of the description. `operations`: their ids; None: all.

    `name`: of its tools, instead of the title. `server`: instead of the description's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    openapi: str = Field(min_length=1)
    operations: tuple[str, ...] | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")] | None = None
    server: Annotated[str, Field(pattern=r"^https?://")] | None = None
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)

    @property
    def address(self) -> str | None:
        """None: it is a file."""
        return self.openapi if self.openapi.startswith(_HTTP) else None


_Apis = TypeAdapter(tuple[ApiSettings, ...])


def read_apis(given: object) -> tuple[ApiSettings, ...]:
    """`given`: a list in JSON or YAML, or the path of a file with it. Raises ValueError."""
    if not isinstance(given, str):
        return _Apis.validate_python(given)
    text, folder = given.strip(), Path()
    if not text:
        return ()
    if not text.startswith(("[", "-")):
        folder = Path(text).parent
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"should be a list in JSON or YAML, or a file of it: can't read {given}") from error
    try:
        apis = _Apis.validate_python(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"should be a list in JSON or YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"is wrong at {where or 'its beginning'}: {fault['msg']}") from None
    for api in apis:
        for name, value in api.headers.items():
            if (why := header_fault(name, value) or reference_fault(value)) is not None:
                raise ValueError(f"is wrong at the headers of {api.openapi}: {why}")
    # A description is beside the file that names it.
    return tuple(api.model_copy(update={} if api.address else {"openapi": str(folder / api.openapi)}) for api in apis)


Apis: TypeAlias = Annotated[tuple[ApiSettings, ...], NoDecode, PlainValidator(read_apis)]


def parsed(content: bytes) -> object:
    """A description, in JSON or YAML. Raises ValueError. Of a large one, YAML takes long."""
    try:
        return json.loads(content)
    except ValueError:
        pass
    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe one
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is neither JSON nor YAML: {str(error).splitlines()[0]}") from error
