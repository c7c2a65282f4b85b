"""`flowyard schema`."""

from __future__ import annotations

import argparse
import json

from flowyard.language.reading.schema import document_schema
from flowyard_embedded import exits


def execute(args: argparse.Namespace) -> int:
    del args
    print(json.dumps(document_schema(), indent=2))
    return exits.OK
