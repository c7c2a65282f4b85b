"""The settings of a service: environment variables `FLOWYARD_*`, read once at its start."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence, Sized
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, TypeAlias, TypeVar, get_args, get_origin

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flowyard.secrets.sealing import read_keys

PREFIX: Final = "FLOWYARD_"


def _postgres(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("should begin with postgresql://")
    return url


def _nats(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("nats://", "tls://")):
        raise ValueError("should begin with nats:// or tls://")
    return url


def _http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("should begin with http:// or https://")
    return url.rstrip("/")


def _http_or_nothing(url: str) -> str:
    return _http(url) if url else url


def _keys(text: SecretStr) -> SecretStr:
    if text.get_secret_value():
        read_keys(text.get_secret_value())
    return text


DatabaseUrl: TypeAlias = Annotated[
    SecretStr, AfterValidator(_postgres), Field(description="Postgres: postgresql://user:password@host:port/database")
]
NatsUrl: TypeAlias = Annotated[
    SecretStr, AfterValidator(_nats), Field(description="NATS: nats://user:password@host:port")
]
HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http)]
OptionalUrl: TypeAlias = Annotated[str, AfterValidator(_http_or_nothing)]
"""Empty: there is none."""
SecretKey: TypeAlias = Annotated[
    SecretStr,
    AfterValidator(_keys),
    Field(
        description="Key for secret inputs: 32 random bytes in Base64. Of several keys, separated by commas, the first "
        "one encrypts, and all decrypt"
    ),
]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535, description="TCP port to listen on; 0: any free one")]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class _FileError(Exception):
    """The file that a variable names can't be used."""


class _FromFiles(PydanticBaseSettingsSource):
    """Reads values from files: `FLOWYARD_<NAME>_FILE` is the path of a file with the value, for containers' secrets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = _variable(field_name)
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise _FileError(f"{variable} and {variable}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
            raise _FileError(f"{variable}_FILE: can't read {path}: {reason}") from error

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class Settings(BaseSettings):
    """Where settings are read from: variables of the environment, or files that variables name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FromFiles(settings_cls)


class ProcessSettings(Settings):
    """The settings of every service, also of one without a database. A service adds its default `port`."""

    nats_url: NatsUrl
    host: Annotated[str, Field(description="Address to listen on; 0.0.0.0: all addresses of this machine")] = (
        "127.0.0.1"
    )
    port: Port
    log_level: Annotated[LogLevel, Field(description="Lowest level of log lines")] = "info"
    grace_s: Annotated[
        float, Field(gt=0, le=3600, description="Seconds that open requests have after SIGTERM to end")
    ] = 5.0
    connections_limit: Annotated[
        int, Field(ge=8, le=100_000, description="HTTP connections at the same time; fewer if ulimit -n is too low")
    ] = 2000


class ServiceSettings(ProcessSettings):
    """The settings of every service with a database."""

    database_url: DatabaseUrl
    disk: Annotated[str, Field(description="A folder on the disk of Postgres, to measure how full it is")] = ""


S = TypeVar("S", bound=Settings)


class InvalidSettings(Exception):
    """`lines`: what is wrong with each variable."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def load_settings(cls: type[S]) -> S:
    """The settings. Raises InvalidSettings."""
    try:
        return cls()
    except _FileError as error:
        raise InvalidSettings([str(error)]) from error
    except ValidationError as error:
        raise InvalidSettings([_message(cls, problem) for problem in error.errors(include_url=False)]) from error


def read_settings(cls: type[S], argv: Sequence[str], *, program: str, about: str) -> S:
    """The settings. Exits with 0 after `--help` or `--version`, and with 2 after a line for each invalid value.

    `argv`: the arguments without the program's name. `about`: what the service does, for `--help`.
    """
    _parser(cls, program, about).parse_args(argv)
    try:
        return load_settings(cls)
    except InvalidSettings as error:
        _exit(program, error.lines)


def _exit(program: str, problems: Sequence[str]) -> NoReturn:
    lines = [*problems, f"`{program} --help` explains every variable"]
    sys.stderr.writelines(f"{program}: {line}\n" for line in lines)
    raise SystemExit(2)


def _message(cls: type[Settings], problem: Any) -> str:
    name = str(problem["loc"][0])
    field, variable = cls.model_fields[name], _variable(name)
    if problem["type"] == "missing":
        return f"{variable} is missing: {field.description}"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = None if _is_secret(field) else os.environ.get(variable)
    value_text = f" is '{value}'" if value else ""
    return f"{variable}{value_text}: {expected}"


def _parser(cls: type[Settings], program: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=textwrap.fill(about, 100),
        epilog=_explained(cls),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{program} {version('flowyard')}")
    return parser


def _explained(cls: type[Settings]) -> str:
    lines = ["It takes no other arguments. Environment variables configure it:", ""]
    for name, field in cls.model_fields.items():
        lines += [f"  {_variable(name)} ({_notes(field)})", f"      {field.description}"]
    lines += ["", f"Each value can be read from a file: {PREFIX}<NAME>_FILE=/path/of/the/file"]
    return "\n".join(lines)


def _notes(field: FieldInfo) -> str:
    need = "required" if field.is_required() else f"default: {_shown(field.get_default(call_default_factory=True))}"
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return ", ".join(
        [need, *(["secret"] if _is_secret(field) else []), *([" | ".join(map(str, values))] if values else [])]
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sized) and not len(value):
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


def _variable(name: str) -> str:
    return PREFIX + name.upper()
