"""`flowyard schema`: the JSON Schema of documents."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Final

from flowyard.language.reading.installed_schema import installation_schema
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.installation import installation_of, prices_of
from flowyard_embedded.streams import print_json

_EXAMPLES: Final = """\
  flowyard schema > flowyard.schema.json

and as the first line of a document, for editors with the YAML language server:
  # yaml-language-server: $schema=./flowyard.schema.json"""


@dataclass(frozen=True)
class SchemaArgs:
    pass


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    carry_out(parser, SchemaArgs, execute)


def execute(args: SchemaArgs) -> int:
    del args
    print_json(installation_schema(installation_of(os.environ), prices_of(os.environ).models))
    return exits.OK
