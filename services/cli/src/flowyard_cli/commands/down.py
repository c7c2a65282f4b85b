"""`flowyard down`: ends the stack that `flowyard up` started."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Final

from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, data_option, examples
from flowyard_embedded.stack.down import WITHIN_S, end_orphans, end_owner
from flowyard_embedded.stack.place import find_place, owner_of
from flowyard_embedded.streams import put, say

_EXAMPLES: Final = """\
  flowyard down
  flowyard down --data ./data

Waits until everything has ended. If nothing runs, it says so, and ends what a killed `flowyard up` left running."""


@dataclass(frozen=True)
class DownArgs:
    data: str | None


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    data_option(parser)
    carry_out(parser, DownArgs, execute)


def execute(args: DownArgs) -> int:
    place = find_place(args.data, os.environ)
    pid = owner_of(place)
    if pid is not None:
        say(f"flowyard: ending what runs in {place.path}, process {pid}")
        if not end_owner(place, pid, say):
            say(f"flowyard: it hasn't ended within {WITHIN_S:g} s; run `flowyard down` once more to kill it")
            return exits.STACK_FAILED
        put("flowyard: down")
        return exits.OK
    if end_orphans(place):
        put(f"flowyard: stopped what a killed `flowyard up` had left running in {place.path}")
    else:
        put(f"flowyard: nothing runs in {place.path}")
    return exits.OK
