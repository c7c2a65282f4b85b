"""The release before this one, from its wheels: its schema, its runs, its executors."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from compileall import compile_dir
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zipfile import ZipFile

ROOT: Final = Path(__file__).parents[2]
COMMIT: Final = "c269bfc610568c68f616ae937cc49c79342e4aab"
SCHEMA: Final = "0002"
_PACKAGES: Final = ("libs/flowyard", "services/executor")
_SUBMIT: Final = """
import asyncio, json, sys
from flowyard.storage.database import open_database
from flowyard.storage.schema import migrate
from support.queued import apply, submit

async def main(url, runs):
    migrated = await migrate(url)
    async with open_database(url, service="tests") as database:
        for document in {run["document"] for run in runs}:
            await apply(database, document)
        ids = [await submit(database, run["workflow"], inputs=run["inputs"]) for run in runs]
    print(json.dumps([migrated.after, *map(str, ids)]))

asyncio.run(main(*json.load(sys.stdin)))
"""

_SWEEP: Final = """
import asyncio, json, sys
from flowyard.storage.database import open_database
from flowyard.storage.moves import Moves

async def main(url):
    async with open_database(url, service="tests") as database:
        print(json.dumps([str(moved.run_id) for moved in await Moves(database).sweep()]))

asyncio.run(main(json.load(sys.stdin)))
"""


def is_known() -> bool:
    """Whether this checkout has the commit: a shallow clone hasn't."""
    return (
        subprocess.run(_git("cat-file", "-e", f"{COMMIT}^{{commit}}"), capture_output=True, check=False).returncode == 0
    )


def install(folder: Path) -> str:
    """Builds, unpacks and compiles its wheels: the PYTHONPATH with which it is imported instead of this checkout."""
    sources, site = folder / "sources", folder / "site"
    archive = subprocess.run(_git("archive", COMMIT, *_PACKAGES, "tests/support"), capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(sources, filter="data")
    for package in _PACKAGES:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(command, cwd=sources / package, capture_output=True, check=True)
    for wheel in folder.glob("*.whl"):
        ZipFile(wheel).extractall(site)
    # Else each of the executors that start at once compiles all of it.
    compile_dir(site, quiet=1)
    return f"{site}:{sources / 'tests'}"


async def submit(url: str, runs: Sequence[dict[str, Any]], python_path: str) -> list[UUID]:
    """Migrates an empty database to its schema, and queues runs: each a `document`, its `workflow`, and `inputs`."""
    version, *ids = await _execute(_SUBMIT, [url, runs], python_path)
    assert version == SCHEMA
    return [UUID(run_id) for run_id in ids]


async def sweep(url: str, python_path: str) -> list[UUID]:
    """Sweeps once, in a database of this release's schema, too: the runs that it has moved."""
    return [UUID(run_id) for run_id in await _execute(_SWEEP, url, python_path)]


async def _execute(script: str, given: Any, python_path: str) -> list[Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": python_path}
    )
    output, _ = await process.communicate(json.dumps(given).encode())
    printed: list[Any] = json.loads(output)
    return printed


def _git(*command: str) -> list[str]:
    return ["git", "-C", str(ROOT), *command]
