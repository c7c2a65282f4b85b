"""The system accounts that servers and services run as: nothing that root starts runs as root."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from stat import S_IRGRP, S_IROTH, S_IXGRP, S_IXOTH, S_IXUSR
from typing import Any, Final

from flowyard_embedded.faults import OutOfReach

_ROOT: Final = 0
_NOBODY: Final = 65534
_SERVICES: Final = 65533
"""Another one than that of the servers, whose data no service may touch. No system gives it to a user."""
_ENTER: Final = 0o1
_READ: Final = 0o4
_READ_AND_RUN: Final = 0o5


@dataclass(frozen=True, slots=True)
class SystemAccount:
    uid: int
    gid: int

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"


def choose_account(data: Path) -> SystemAccount | None:
    """None: the account of this process. For root: the owner of existing data, else `nobody`."""
    if os.geteuid() != _ROOT:
        return None
    if data.exists() and data.stat().st_uid != _ROOT:
        return SystemAccount(data.stat().st_uid, data.stat().st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return SystemAccount(_NOBODY, _NOBODY)
    return SystemAccount(nobody.pw_uid, nobody.pw_gid)


def account_of_services() -> SystemAccount | None:
    """None: the account of this process."""
    return SystemAccount(_SERVICES, _SERVICES) if os.geteuid() == _ROOT else None


def run_as(account: SystemAccount | None) -> Mapping[str, Any]:
    """Arguments of `Popen`."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def make_directory(directory: Path) -> None:
    """Makes a directory for servers, with its parents. Other users can't list it.

    If root makes it, others may pass through it, because the servers in it run as another user. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711 if os.geteuid() == _ROOT else 0o700)


def give(path: Path, account: SystemAccount | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid)


def require_reach(directory: Path, account: SystemAccount | None) -> None:
    """Raises OutOfReach."""
    blocked = account and blocked_by(directory, account)
    if account and blocked:
        raise OutOfReach(directory, blocked_by=blocked, user=account.name)


def blocked_by(directory: Path, account: SystemAccount) -> Path | None:
    """The first directory from the root to `directory`, inclusive, that the account may not enter."""
    path = (*reversed(directory.parents), directory)
    return next((folder for folder in path if not _may(folder, account, _ENTER)), None)


def can_run(program: Path, account: SystemAccount) -> bool:
    return _may(program, account, _READ_AND_RUN) and blocked_by(program.parent, account) is None


def unreadable_code(account: SystemAccount) -> Path | None:
    """What keeps the account from running this Python and our packages; None: nothing."""
    import_paths = [Path(sys.executable).resolve(), Path(os.__file__), *map(Path, _our_files())]
    for file in (Path(sys.prefix) / "pyvenv.cfg", *import_paths):
        if file.exists():
            blocked = blocked_by(file.parent, account)
            if blocked or not _may(file, account, _READ):
                return blocked or file
    return None


def _our_files() -> list[str]:
    specs = [find_spec(name) for name in ("flowyard", "flowyard_embedded", "flowyard_gateway", "pydantic")]
    return [spec.origin for spec in specs if spec is not None and spec.origin]


def open_to_all(tree: Path) -> None:
    """Lets everyone read and run the files of the tree."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | S_IRGRP | S_IROTH | (S_IXGRP | S_IXOTH if mode & S_IXUSR else 0))


def _may(path: Path, account: SystemAccount, bits: int) -> bool:
    status = path.stat()
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    return status.st_mode >> shift & bits == bits
