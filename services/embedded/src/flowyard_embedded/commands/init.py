"""`flowyard init`."""

from __future__ import annotations

import argparse
import re
import sys
from importlib.resources import files
from pathlib import Path

from flowyard_embedded import exits
from flowyard_embedded.reading import UnreadableFile


def execute(args: argparse.Namespace) -> int:
    path = Path(args.name) if args.name.endswith((".yaml", ".yml")) else Path(f"{args.name}.yaml")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_")
    if not name:
        print(
            f"flowyard: '{args.name}' can't be the name of a workflow (use letters, digits, - and _)", file=sys.stderr
        )
        return exits.WRONG_INPUT
    starter = files("flowyard_embedded").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if args.force else "x", encoding="utf-8") as file:
            file.write(starter.replace("NAME.yaml", str(path)).replace("NAME", name))
    except FileExistsError:
        print(f"flowyard: {path} is there already (overwrite it with --force)", file=sys.stderr)
        return exits.WRONG_INPUT
    except OSError as error:
        raise UnreadableFile(str(path), error) from error
    print(f"wrote {path}\n\n  flowyard run {path} -i topic=rain\n  flowyard test {path}")
    return exits.OK
