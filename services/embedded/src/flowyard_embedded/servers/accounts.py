"""The system account that a server runs as. Root starts no server as root: Postgres refuses that."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_IRGRP, S_IROTH, S_IXGRP, S_IXOTH, S_IXUSR
from typing import Any, Final

from flowyard_embedded.faults import OutOfReach

_ROOT: Final = 0
_NOBODY: Final = 65534
_ENTER: Final = 0o1
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


def open_to_all(tree: Path) -> None:
    """Lets everyone read and run the files of the tree."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | S_IRGRP | S_IROTH | (S_IXGRP | S_IXOTH if mode & S_IXUSR else 0))


def _may(path: Path, account: SystemAccount, bits: int) -> bool:
    status = path.stat()
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    return status.st_mode >> shift & bits == bits
