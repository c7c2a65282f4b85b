"""Connects a command to the stack, and reports its errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError

from flowyard.api.client import Client
from flowyard.api.refusals import Refused, Unreachable
from flowyard.api.transport import PATIENCE_S
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import ExpiredKey, InvalidDocument, InvalidInputs, Unauthorized
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs
from flowyard_cli.remote.address import Address, NoStack, find_address
from flowyard_cli.show.problems import render_problem
from flowyard_embedded.stack.place import owner_of
from flowyard_embedded.streams import print_json, say

Args = TypeVar("Args", bound=StackArgs)
Reword: TypeAlias = Callable[[FlowyardError], FlowyardError]


def at_the_stack(
    work: Callable[[Client, Args], int],
    args: Args,
    *,
    reworded: Reword = lambda error: error,
    patience_s: float = PATIENCE_S,
) -> int:
    """Does the work with a client of the stack. Returns the exit code; prints an error as `reworded` returns it.

    `patience_s`: how long to retry while the gateway doesn't answer.
    """
    address = None
    try:
        address = find_address(args.url, args.data, os.environ)
        with Client(address.url, address.key, patience_s=patience_s) as client:
            return work(client, args)
    except ValidationError as error:
        # A value in the request is out of its limits: the service would refuse it too.
        return _report(InvalidInputs(list(map(_fault, error.errors()))), address, as_json=args.json)
    except FlowyardError as error:
        return _report(reworded(_explained(error, address, args)), address, as_json=args.json)


def _fault(problem: Any) -> str:
    """What pydantic has found, with its place unless it is about all of a request."""
    where, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def again(args: StackArgs, *words: object) -> str:
    """Another command line for the same stack."""
    url = ["--url", args.url] if args.url else []
    data = ["--data", args.data] if args.data else []
    return shlex.join(["flowyard", *map(str, words), *url, *data])


def _report(error: FlowyardError, address: Address | None, *, as_json: bool) -> int:
    is_stacks = isinstance(error, (NoStack, Unreachable)) or (
        isinstance(error, Refused)
        and (error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS)
    )
    if as_json:
        data: dict[str, Any] = {"code": error.code, "message": error.message, **error.details}
        print_json({"status": "failed" if is_stacks else "invalid", "error": data})
    else:
        for line in _lines(error, address):
            say(line)
    return exits.STACK_FAILED if is_stacks else exits.WRONG_INPUT


def _explained(error: FlowyardError, address: Address | None, args: StackArgs) -> FlowyardError:
    """If the stack of this machine has ended, says that instead of its address."""
    if isinstance(error, Unreachable) and address is not None and address.place and owner_of(address.place) is None:
        return NoStack(args.data)
    return error


def _lines(error: FlowyardError, address: Address | None) -> Sequence[str]:
    match error:
        case InvalidInputs():
            return [f"flowyard: {problem}" for problem in error.problems]
        case InvalidDocument():
            return [render_problem(problem, str(problem["file"])) for problem in error.problems]
        case Refused() if error.code in (Unauthorized.code, ExpiredKey.code) and address is not None:
            return [
                f"flowyard: {error.message} [{error.code}]",
                f"  the command used the key with the id {address.key_id}, from {address.key_from}",
                "  to make another key, with a key that has the scope admin: flowyard keys create NAME --scope run",
            ]
        case Refused():
            return [f"flowyard: {error.message} [{error.code}]"]
        case _:
            return [f"flowyard: {error.message}"]
