"""Every example is a valid document, also to an editor, and does what its tests say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from flowyard.language.reading.document import document_schema
from support.documents import ROOT, faults_of, load_file

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
by_name = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@by_name
def test_an_example_has_no_problems(example: Path) -> None:
    assert [problem.render(example.name) for problem in load_file(example).problems] == []


@by_name
def test_an_editor_finds_nothing_wrong_with_an_example(example: Path) -> None:
    validator = Draft202012Validator(document_schema())
    document = yaml.safe_load(example.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(document)] == []


@by_name
async def test_an_example_passes_its_own_tests(example: Path) -> None:
    workflow = load_file(example).workflow
    assert workflow is not None
    assert len(workflow.cases) > 1, "the happy path and another one"
    assert [(case.name, fault) for case in workflow.cases for fault in await faults_of(case, workflow)] == []


@by_name
def test_an_example_begins_by_saying_how_it_is_run(example: Path) -> None:
    lines = example.read_text(encoding="utf-8").splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert 2 <= len(comment) <= 3
    assert f"flowyard run examples/{example.name} -i " in "\n".join(comment)
