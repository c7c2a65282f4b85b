"""What commands read: documents and inputs, however they come."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowyard.errors.requests import InvalidInputs
from flowyard.language.load import load_text
from flowyard.language.workflow import Workflow
from flowyard_cli.reading import UnreadableFile, read_document, read_inputs
from support.cli import SCRIPTED


def test_an_endless_standard_input_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/zero").open(encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [p.code for p in read_document("-").problems] == ["document-too-large"]


def test_a_file_without_an_end_is_too_large() -> None:
    assert [p.code for p in read_document("/dev/zero").problems] == ["document-too-large"]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is a directory, not a file"):
        read_document(str(tmp_path))


def test_a_folder_that_cannot_be_listed_gives_no_suggestion() -> None:
    with pytest.raises(UnreadableFile, match=r"file name too long$"):
        read_document(f"{'x' * 300}/a.yaml")
    with pytest.raises(UnreadableFile, match=r"no such file or directory$"):
        raise UnreadableFile(f"{'x' * 300}/a.yaml", FileNotFoundError(2, "No such file or directory"))


@pytest.fixture
def workflow() -> Workflow:
    loaded = load_text(SCRIPTED, "haiku.yaml").workflow
    assert loaded is not None
    return loaded


def test_the_command_line_wins_over_the_file_and_is_read_by_type(workflow: Workflow, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"topic": "snow", "n": 2}')
    assert read_inputs(workflow, ["n=5"], str(file)) == {"topic": "snow", "n": 5}
    assert read_inputs(workflow, ["topic=5"], str(file)) == {"topic": "5", "n": 2}


def test_inputs_may_begin_with_a_byte_order_mark(workflow: Workflow, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"topic": "rain"}', encoding="utf-8-sig")
    assert read_inputs(workflow, [], str(tmp_path / "in.json"))["topic"] == "rain"


def test_an_input_given_twice_in_a_file_is_reported(workflow: Workflow, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"topic": "rain", "topic": "snow"}')
    with pytest.raises(InvalidInputs, match=r"in\.json: topic: given twice"):
        read_inputs(workflow, [], str(tmp_path / "in.json"))
