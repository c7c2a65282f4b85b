"""A command's work at the stack, and what is said when it doesn't come to its end."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from flowyard.api.client import Client
from flowyard.api.refusals import Refused, Unreachable
from flowyard.api.transport import PATIENCE_S
from flowyard.errors import FlowyardError, InvalidDocument, InvalidInputs, Unauthorized
from flowyard_cli import exits
from flowyard_cli.remote.address import Address, NoStack, find_address
from flowyard_cli.remote.documents import rendered
from flowyard_embedded.stack.place import owner_of
from flowyard_embedded.streams import print_json, say

Work: TypeAlias = Callable[[Client, argparse.Namespace], int]
Reword: TypeAlias = Callable[[FlowyardError], FlowyardError]

NOT_DONE: Final = 1
"""The stack couldn't do it, or isn't there; nothing is wrong with what was asked."""


def at_the_stack(
    args: argparse.Namespace, work: Work, *, reworded: Reword = lambda error: error, patience_s: float = PATIENCE_S
) -> int:
    """The exit code; errors have been told, as `reworded` has them. `args`: url, data, json, and what `work` reads."""
    address = None
    try:
        address = find_address(args.url, args.data, os.environ)
        with Client(address.url, address.key, patience_s=patience_s) as client:
            return work(client, args)
    except ValidationError as error:
        # Of a request: what was asked for has a limit that the service would tell of, too.
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return _tell(InvalidInputs(faults), address, as_json=args.json)
    except FlowyardError as error:
        return _tell(reworded(_explained(error, address, args)), address, as_json=args.json)


def again(args: argparse.Namespace, *words: object) -> str:
    """Another command for the same stack."""
    where = [option for name in ("url", "data") if (value := getattr(args, name)) for option in (f"--{name}", value)]
    return shlex.join(["flowyard", *map(str, words), *where])


def _tell(error: FlowyardError, address: Address | None, *, as_json: bool) -> int:
    is_ours = isinstance(error, (NoStack, Unreachable))
    is_theirs = isinstance(error, Refused) and (
        error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS
    )
    if as_json:
        told: dict[str, Any] = {"code": error.code, "message": error.message, **error.details}
        print_json({"status": "failed" if is_ours or is_theirs else "invalid", "error": told})
    else:
        for line in _lines(error, address):
            say(line)
    return NOT_DONE if is_ours or is_theirs else exits.WRONG_INPUT


def _explained(error: FlowyardError, address: Address | None, args: argparse.Namespace) -> FlowyardError:
    """Where the stack of this machine has ended, its address is of no interest."""
    if isinstance(error, Unreachable) and address is not None and address.place and owner_of(address.place) is None:
        return NoStack(args.data)
    return error


def _lines(error: FlowyardError, address: Address | None) -> Sequence[str]:
    match error:
        case InvalidInputs():
            return [f"flowyard: {problem}" for problem in error.problems]
        case InvalidDocument():
            return [rendered(problem, str(problem["file"])) for problem in error.problems]
        case Refused() if error.code == Unauthorized.code and address is not None:
            return [
                f"flowyard: {error.message} [{error.code}]",
                f"  this was the key with the id {address.key_id}, from {address.key_from}",
                "  who has a key with the scope admin makes another: flowyard keys create NAME --scope run",
            ]
        case Refused():
            return [f"flowyard: {error.message} [{error.code}]"]
        case _:
            return [f"flowyard: {error.message}"]
