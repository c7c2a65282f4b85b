"""No name in the code is a word that says nothing. `benchmarks/words.py` checks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]


def check(*paths: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "words.py"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def f(told): ...", "told"),
        ("def f(*, is_asked=True): ...", "is_asked"),
        ("async def _tell(): ...", "_tell"),
        ("class OneRow: ...", "OneRow"),
        ("class A:\n  found: int", "found"),
        ("self.heard = 1", "heard"),
        ("for one in rows: ...", "one"),
        ("with f() as (beside, other): ...", "beside"),
        ("try: ...\nexcept ValueError as found: ...", "found"),
        ("match x:\n  case [first, *told]: ...", "told"),
        ("import rows as anew", "anew"),
    ],
)
def test_a_name_that_says_nothing_is_reported_with_its_line(code: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.py"
    file.write_text(code)
    line = 1 + code[: code.index(name)].count("\n")
    status, out = check(tmp_path)
    assert (status, out.partition(" (use ")[0]) == (1, f"{file}:{line}: name '{name}'")


def test_words_that_only_contain_such_a_word_and_other_peoples_names_are_fine(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import told\nphone = told.one(found=1)\nclass NotFound: ...\nnot_found = done = 1"
    )
    assert check(tmp_path) == (0, "")


def test_two_classes_of_the_product_with_one_name_are_reported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("class Row: ...\nclass _Private: ...\n")
    code, printed = check(tmp_path)
    assert code == 1
    assert printed.splitlines() == [f"{tmp_path}/b.py:1: class 'Row' has the name of one in {tmp_path}/a.py"]
