"""`flowyard schema`."""

from __future__ import annotations

import argparse

from flowyard.language.reading.schema import document_schema
from flowyard_cli import exits
from flowyard_embedded.streams import print_json


def execute(args: argparse.Namespace) -> int:
    del args
    print_json(document_schema())
    return exits.OK
