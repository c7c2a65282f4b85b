"""`flowyard down`: ends the stack that `flowyard up` started."""

from __future__ import annotations

import argparse
import os
from typing import Final

from flowyard_cli import exits
from flowyard_embedded.stack.down import WITHIN_S, end_orphans, end_owner
from flowyard_embedded.stack.place import find_place, owner_of
from flowyard_embedded.streams import put, say

_STILL_RUNNING: Final = 1


def execute(args: argparse.Namespace) -> int:
    """`args`: data."""
    place = find_place(args.data, os.environ)
    pid = owner_of(place)
    if pid is not None:
        say(f"flowyard: ending what runs in {place.path}, process {pid}")
        if not end_owner(place, pid, say):
            say(f"flowyard: it hasn't ended within {WITHIN_S:g} s; once more `flowyard down`, and it is killed")
            return _STILL_RUNNING
        put("flowyard: down")
        return exits.OK
    if end_orphans(place):
        put(f"flowyard: what a killed `flowyard up` had left running in {place.path} has been ended")
    else:
        put(f"flowyard: nothing runs in {place.path}")
    return exits.OK
