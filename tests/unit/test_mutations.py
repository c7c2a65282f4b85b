"""The list of mutations fits the code, and what runs them judges rightly. `benchmarks/mutate.py` reads and runs it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    spec = spec_from_file_location("mutate", ROOT / "benchmarks" / "mutate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    return module


def test_each_mutation_changes_one_place_and_names_tests_that_exist(mutate: ModuleType) -> None:
    mutations = mutate.read_mutations()
    assert {m.name: problem for m in mutations if (problem := m.problem())} == {}
    assert [m.name for m in mutations if m.old == m.new or not m.tests] == []
    assert [name for name, count in Counter(m.name for m in mutations).items() if count > 1] == []
    assert len(mutations) >= 80


def test_each_mutation_leaves_code_that_can_be_read(mutate: ModuleType) -> None:
    """Else it would be noticed whatever the tests are worth."""
    for mutation in mutate.read_mutations():
        if mutation.file.suffix == ".py":
            text = (ROOT / mutation.file).read_text(encoding="utf-8")
            compile(text.replace(mutation.old, mutation.new), mutation.name, "exec")


def test_a_mutation_that_fits_nothing_any_more_is_named(mutate: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("a = 1\nb = 1\n")

    def problem(old: str, *tests: str, file: str = "code.py") -> str | None:
        mutation = mutate.Mutation(name="m", file=Path(file), old=old, new="", tests=tests)
        result: str | None = mutation.problem(tmp_path)
        return result

    assert problem("a = 1") is None
    assert problem("c = 1") == "its old text is 0 times in code.py"
    assert problem(" = 1") == "its old text is 2 times in code.py"
    assert problem("a", file="gone.py") == "there is no gone.py"
    assert problem("a = 1", "gone.py::test_it") == "there is no test gone.py::test_it"


def test_the_list_is_printed(mutate: ModuleType) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "mutate.py"), "--list", "--only", "fence-"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == sum(m.name.startswith("fence-") for m in mutate.read_mutations())
    assert "fence-going-on  (libs/flowyard/src/flowyard/storage/commit.sql)" in printed
