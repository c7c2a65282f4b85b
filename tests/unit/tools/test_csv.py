"""CSV of strangers: how it is read and written, and that none of it takes long or grows large."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowyard.tools.registry import ToolRegistry
from support.tool_calls import called, with_folders


@pytest.fixture
def tools(tmp_path: Path) -> ToolRegistry:
    return with_folders(out=tmp_path)


def read(text: str, **more: Any) -> Any:
    result = called("csv.read", {"text": text, **more})
    assert result.error is None
    return result.value


def written(rows: Any, **more: Any) -> Any:
    result = called("csv.write", {"rows": rows, **more})
    assert result.error is None
    return result.value


def test_rows_have_names_and_texts() -> None:
    assert read('\ufeffname,zip\n"Ada, L.",01234\n\nBob\n') == {
        "columns": ["name", "zip"],
        "rows": [{"name": "Ada, L.", "zip": "01234"}, {"name": "Bob", "zip": None}],
        "delimiter": ",",
        "is_cut": False,
    }


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('a,b\n"x;y;z",2\n', ","),
        ("alone\n1\n", ","),
        ("", ","),
        ("a;b\n" + "1;2\n" * 100_000, ";"),
        (";" * 1_000_000, ","),
        ('"' * 1_000_001, ","),
    ],
)
def test_the_delimiter_is_recognized(text: str, delimiter: str) -> None:
    result = called("csv.read", {"text": text})
    assert result.outcome == "failed" or result.value["delimiter"] == delimiter


def test_names_of_columns_are_never_the_same_twice() -> None:
    assert read("a,,a,a_2\n1,2,3,4")["columns"] == ["a", "column_2", "a_2", "a_2_2"]


def test_rows_are_read_in_parts() -> None:
    text = "n\n" + "".join(f"{i}\n" for i in range(5))
    assert read(text, start=2, limit=2)["rows"] == [{"n": "1"}, {"n": "2"}]
    assert [read(text, limit=limit)["is_cut"] for limit in (4, 5)] == [True, False]
    assert read("1,2\n3,4", header=False)["rows"] == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "either 'text' or 'path'"),
        ({"text": "a", "path": "out/a"}, "either 'text' or 'path'"),
        ({"text": "a,b\n1,2,3"}, "a row has 3 values, and there are 2 columns"),
        ({"text": 'a\n"x'}, "no CSV"),
        ({"text": 'a\n"x"y'}, "line 2 is no CSV"),
        ({"text": "," * 8_000_000}, "more than 100,000 delimiters"),
        ({"text": ("," * 999 + '"\n"') * 1_000, "delimiter": ","}, "more than 100,000 delimiters"),
        ({"text": "," * 1_000}, "more than 1,000 values"),
        ({"text": "a\n" + "x" * 200_000}, "field larger than field limit"),
        ({"path": "out/../a.csv"}, "no '..'"),
        ({"path": "out/none.csv"}, "there is no 'out/none.csv'"),
    ],
)
def test_what_is_no_csv_is_said(tools: ToolRegistry, arguments: Mapping[str, Any], error: str) -> None:
    result = called("csv.read", arguments, tools=tools)
    assert result.outcome == "failed"
    assert error in str(result.error)


def test_files_are_read_in_their_encoding(tools: ToolRegistry, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("städte;größe\nKöln;1\n".encode("cp1252"))
    wrong = called("csv.read", {"path": "out/a.csv"}, tools=tools)
    assert wrong.error == "'out/a.csv' is no text in UTF-8"
    right = called("csv.read", {"path": "out/a.csv", "encoding": "cp1252"}, tools=tools)
    assert right.value["rows"] == [{"städte": "Köln", "größe": "1"}]


def test_rows_are_written_as_text() -> None:
    rows = [{"a": 'say "hi"', "b": 1.5}, {"b": None, "c": [1, True], "a": "x\ny"}]
    assert written(rows) == 'a,b,c\n"say ""hi""",1.5,\n"x\ny",,"[1, true]"\n'
    assert written(rows, columns=["c", "a", "b"], delimiter=";").splitlines()[0] == "c;a;b"
    assert written([[1, "2"], [3, None]]) == "1,2\n3,\n"
    assert written([[1, "2"]], columns=["x", "y"]) == "x,y\n1,2\n"
    assert written([]) == ""


def test_what_was_written_is_read_again() -> None:
    rows = [{"a": "=1+1", "b": "x;\"'\r\n", "c": ""}, {"a": "\u2028", "b": "\0", "c": " "}]
    assert read(written(rows))["rows"] == rows


def test_a_spreadsheet_calculates_nothing_that_a_stranger_has_written() -> None:
    rows = [{"=a": "=cmd()", "b": -1, "c": "-1", "d": "@x"}]
    assert written(rows, for_spreadsheet=True) == "'=a,b,c,d\n'=cmd(),-1,'-1,'@x\n"


def test_a_file_is_written(tools: ToolRegistry, tmp_path: Path) -> None:
    arguments = {"rows": [{"a": "é"}], "path": "out/new/a.csv"}
    result = called("csv.write", arguments, tools=tools)
    assert result.value == {"path": "out/new/a.csv", "size": 5, "is_new": True, "rows": 1}
    assert (tmp_path / "new/a.csv").read_text() == "a\né\n"
    assert called("csv.write", {**arguments, "rows": [["x"]]}, tools=tools).outcome == "failed"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rows": [{"a": 1}], "columns": ["b"]}, "row 1 has 'a', which is not among the columns"),
        ({"rows": [[1], [1, 2]], "columns": ["b"]}, "row 2 has 2 values, and there are 1 columns"),
        ({"rows": [{str(i): 1} for i in range(1_002)]}, "more than 1,000 columns"),
        ({"rows": [[1] * 1_001]}, "more than 1,000 values"),
        ({"rows": [["x" * 1_000_000]] * 2}, "more than 1,000,000 characters"),
        ({"rows": [["x" * 1_000_000]] * 9, "path": "out/a.csv"}, "more than 8,000,000 characters"),
        ({"rows": [["\ud800"]], "path": "out/a.csv"}, "half a surrogate pair"),
        ({"rows": [], "path": "out/.git/config"}, "hidden"),
    ],
)
def test_what_cannot_be_written_is_said(tools: ToolRegistry, arguments: Mapping[str, Any], error: str) -> None:
    result = called("csv.write", arguments, tools=tools)
    assert result.outcome == "failed"
    assert error in str(result.error)
