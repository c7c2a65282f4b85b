"""What gets installed is locked, comes from nowhere in particular, and runs no code of its own at start."""

from __future__ import annotations

import re
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PACKAGES = [ROOT / f"{folder}/pyproject.toml" for folder in ("libs/flowyard", "services/embedded", "services/cli")]
INSTALLER = [
    *LOCKS,
    *sorted((ROOT / "requirements").glob("*.in")),
    *PACKAGES,
    *sorted((ROOT / "benchmarks/peer_apps").glob("*.json")),
    *sorted((ROOT / "tests/support").glob("*/package*.json")),
    ROOT / "pyproject.toml",
    ROOT / "Makefile",
]

MALICIOUS = {"litellm": [SpecifierSet("==1.82.7"), SpecifierSet("==1.82.8"), SpecifierSet("==1.107.*")]}

# Our own two hold one path each; the others belong to setuptools and virtualenv.
PARTS = ("", "_registry", "_sandbox", "_executor", "_gateway", "_dashboard", "_embedded", "_cli")
OURS = {f"_flowyard{part}.pth" for part in PARTS}
KNOWN = OURS | {"distutils-precedence.pth", "_virtualenv.pth"}


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def declared(pyproject: Path) -> list[Requirement]:
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(line) for lines in [project["dependencies"], *extras] for line in lines]


def startup_files() -> list[Path]:
    return [file for kind in ("purelib", "platlib") for file in Path(sysconfig.get_path(kind)).glob("*.pth")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_release_known_to_be_malicious_is_locked(lock: Path) -> None:
    bad = [(name, pin) for name, pin in pins(lock).items() for range_ in MALICIOUS.get(name, []) if pin in range_]
    assert bad == []


@pytest.mark.parametrize("pyproject", PACKAGES, ids=lambda path: path.parent.name)
def test_the_lock_holds_what_the_packages_declare(pyproject: Path) -> None:
    locked = pins(ROOT / "requirements/runtime.txt")
    needed = [each for each in declared(pyproject) if not each.name.startswith("flowyard")]
    assert [str(each) for each in needed if locked.get(each.name, "0") not in each.specifier] == [], "run `make lock`"


@pytest.mark.parametrize("file", INSTALLER, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_address_to_install_from_is_written_down(file: Path) -> None:
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url[ =]\S+|--find-links[ =]\S+", file.read_text()) == []


def test_nothing_runs_when_python_starts() -> None:
    # The attack on litellm was a .pth file: its `import` lines run in every Python of the environment.
    assert {file.name for file in startup_files()} - KNOWN == set()
    assert [file.name for file in startup_files() if file.name in OURS and "import" in file.read_text().split()] == []
