"""What the tools of files give, and what they refuse although nobody means harm."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowyard.language.tools import ToolUse
from flowyard.tools.folders import read_folders
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import ToolResult
from support.tool_calls import called, with_folders


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    for path, text in {
        "a.md": "Alpha\nbeta\nTOTAL: 12\n",
        "b.txt": "alpha",
        "deep/c.md": "Total: 3",
        "deep/er/d.md": "\ufeffdelta",
        ".secret": "alpha",
        ".git/config": "alpha",
    }.items():
        file = docs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (docs / "image.png").write_bytes(b"\x89PNG\0\xff")
    return docs


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def tools(docs: Path, out: Path) -> ToolRegistry:
    return with_folders(docs=docs, out=out)


def value(tools: ToolRegistry, name: str, **arguments: Any) -> Any:
    result = called(name, arguments, tools=tools)
    assert result.error is None
    return result.value


def failure(tools: ToolRegistry, name: str, **arguments: Any) -> str:
    result = called(name, arguments, tools=tools)
    assert result.outcome == "failed"
    return str(result.error)


def test_a_file_is_read_whole_or_in_part(tools: ToolRegistry) -> None:
    assert value(tools, "files.read", path="docs/a.md") == "Alpha\nbeta\nTOTAL: 12\n"
    assert value(tools, "files.read", path="docs/a.md", start=2, lines=1) == "beta\n"
    assert value(tools, "files.read", path="docs/a.md", start=9) == ""
    assert value(tools, "files.read", path="docs/deep/er/d.md") == "delta"
    encoded = b64encode(b"\x89PNG\0\xff").decode()
    assert value(tools, "files.read", path="docs/image.png", format="base64") == encoded


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": "docs/none.md"}, "there is no 'docs/none.md'"),
        ({"path": "docs/none/x.md"}, "there is no 'docs/none'"),
        ({"path": "docs"}, "'docs' is a folder: name a file in it"),
        ({"path": "docs/deep"}, "'docs/deep' is a folder: name a file in it"),
        ({"path": "docs/a.md/x"}, "'docs/a.md' is a symbolic link, or no folder"),
        ({"path": "dosc/a.md"}, "no folder 'dosc' (did you mean 'docs'?)"),
        ({"path": "docs/image.png"}, "'docs/image.png' is no text in UTF-8"),
        ({"path": "docs/image.png", "format": "base64", "start": 2}, "there can be no 'start'"),
    ],
)
def test_what_cannot_be_read_is_said(tools: ToolRegistry, arguments: Mapping[str, Any], error: str) -> None:
    assert error in failure(tools, "files.read", **arguments)


def test_large_files_are_read_in_part_or_not_at_all(tools: ToolRegistry, docs: Path) -> None:
    (docs / "long.txt").write_text("x" * 99 + "\n" + ("y" * 99 + "\n") * 20_000)
    assert "read some lines of it" in failure(tools, "files.read", path="docs/long.txt")
    assert value(tools, "files.read", path="docs/long.txt", lines=2) == "x" * 99 + "\n" + "y" * 99 + "\n"
    with (docs / "huge.bin").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    assert "the limit is 16,777,216" in failure(tools, "files.read", path="docs/huge.bin", lines=1)


def test_a_file_is_written_and_its_folders_are_made(tools: ToolRegistry, out: Path) -> None:
    written = value(tools, "files.write", path="out/reports/new/a.md", content="é")
    assert written == {"path": "out/reports/new/a.md", "size": 2, "is_new": True}
    file = out / "reports/new/a.md"
    assert file.read_text() == "é"
    assert file.stat().st_mode & 0o111 == 0
    assert [each.name for each in file.parent.iterdir()] == ["a.md"]
    value(tools, "files.write", path="out/b.bin", content=b64encode(b"\0\xff").decode(), format="base64")
    assert (out / "b.bin").read_bytes() == b"\0\xff"
    value(tools, "files.write", path="out/c.json", content=[{"é": 1.5}, None])
    assert (out / "c.json").read_text() == '[{"é": 1.5}, null]'


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"content": "?", "format": "base64"}, "no Base64"),
        ({"content": [1], "format": "base64"}, "no Base64"),
        ({"content": "\ud800"}, "half a surrogate pair"),
        ({"content": ["x" * 6_000_000] * 3}, "the limit is 16,777,216"),
    ],
)
def test_what_no_file_can_hold_is_refused(
    tools: ToolRegistry, out: Path, arguments: Mapping[str, Any], error: str
) -> None:
    assert error in failure(tools, "files.write", path="out/a", **arguments)
    assert list(out.iterdir()) == []


def test_a_file_is_replaced_only_if_wanted(tools: ToolRegistry, out: Path) -> None:
    value(tools, "files.write", path="out/a.md", content="first")
    assert "to replace it, set overwrite" in failure(tools, "files.write", path="out/a.md", content="second")
    assert (out / "a.md").read_text() == "first"
    # The same call again, as after a crash.
    assert value(tools, "files.write", path="out/a.md", content="first")["is_new"] is False
    assert value(tools, "files.write", path="out/a.md", content="second", overwrite=True)["is_new"] is False
    assert (out / "a.md").read_text() == "second"


def test_a_reader_sees_the_old_file_or_the_new_one(tools: ToolRegistry, out: Path) -> None:
    file = out / "a.md"
    file.write_text("old")
    with file.open() as opened:
        value(tools, "files.write", path="out/a.md", content="new", overwrite=True)
        assert opened.read() == "old"
    assert file.read_text() == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "out/.bashrc",
        "out/.git/hooks/post-checkout",
        "out/repo.git/hooks/post-receive",
        "out/HEAD",
        "out/Head",
        "out/lib/evil.pth",
        "out/lib/EVIL.PTH",
        "out/sitecustomize.py",
        "out/SiteCustomize/__init__.py",
        "out/usercustomize.cpython-311.pyc",
        "out/__pycache__/json.cpython-311.pyc",
        "out/\uff28EAD",
        "out/he\u200cad",
        "out/a.pth ",
        "out/a.pth.",
        "out/a.md:stream",
        "docs/a.md",
        "out",
    ],
)
def test_what_programs_execute_by_themselves_is_never_written(
    tools: ToolRegistry, tmp_path: Path, *, path: str, overwrite: bool
) -> None:
    before = sorted(tmp_path.rglob("*"))
    failure(tools, "files.write", path=path, content="x", overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_program_is_not_replaced(tools: ToolRegistry, out: Path) -> None:
    program = out / "run.sh"
    program.write_text("true")
    program.chmod(0o755)
    assert "is a program" in failure(tools, "files.write", path="out/run.sh", content="x", overwrite=True)
    assert program.read_text() == "true"


def test_a_folder_is_listed_without_what_is_hidden(tools: ToolRegistry, docs: Path) -> None:
    listed = value(tools, "files.list", path="docs")
    assert [(each["path"], each["kind"]) for each in listed["entries"]] == [
        ("docs/a.md", "file"),
        ("docs/b.txt", "file"),
        ("docs/deep", "folder"),
        ("docs/image.png", "file"),
    ]
    assert listed["entries"][1]["size"] == 5
    assert value(tools, "files.list")["entries"] == [
        {"path": "docs", "kind": "folder", "is_writable": False},
        {"path": "out", "kind": "folder", "is_writable": True},
    ]
    for i in range(1_001):
        (docs / f"n{i}").touch()
    assert value(tools, "files.list", path="docs")["is_cut"] is True
    assert "is a symbolic link, or no folder" in failure(tools, "files.list", path="docs/a.md")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("docs/*.md", ["docs/a.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/deep/c.md", "docs/deep/er/d.md"]),
        ("docs/**", ["docs/a.md", "docs/b.txt", "docs/deep/c.md", "docs/deep/er/d.md", "docs/image.png"]),
        ("docs/deep/**/d.*", ["docs/deep/er/d.md"]),
        ("docs/**/**/**/[cd].md", ["docs/deep/c.md", "docs/deep/er/d.md"]),
        ("docs/*/?.md", ["docs/deep/c.md"]),
        ("docs/b.txt", ["docs/b.txt"]),
        ("docs/.*", None),
        ("docs/../*", None),
        ("docs", None),
        ("*/a.md", None),
        ("docs/none/*", None),
    ],
)
def test_files_are_found_by_patterns(tools: ToolRegistry, pattern: str, paths: list[str] | None) -> None:
    result = called("files.glob", {"pattern": pattern}, tools=tools)
    if paths is None:
        assert result.outcome == "failed"
    else:
        assert [each["path"] for each in result.value["files"]] == paths
        assert result.value["is_cut"] is False


def test_a_pattern_of_many_stars_is_matched_in_time(tools: ToolRegistry, docs: Path) -> None:
    folder = docs
    for _ in range(30):
        folder /= "a" * 60
        folder.mkdir()
        (folder / ("a" * 200)).touch()
    assert value(tools, "files.glob", pattern="docs/" + "**/" * 30 + "*a" * 20 + "b")["files"] == []


def test_lines_are_found_by_text_and_by_pattern(tools: ToolRegistry) -> None:
    assert value(tools, "files.search", files="docs/**", text="alpha") == {
        "lines": [{"path": "docs/b.txt", "line": 1, "text": "alpha"}],
        "files": 4,
        "is_cut": False,
    }
    found = value(tools, "files.search", files="docs/**/*.md", pattern=r"(?i)total: (\d+)")
    assert [(line["path"], line["line"]) for line in found["lines"]] == [("docs/a.md", 3), ("docs/deep/c.md", 1)]
    cut = value(tools, "files.search", files="docs/**", text="a", limit=1)
    assert (len(cut["lines"]), cut["is_cut"]) == (1, True)
    assert "either 'text' or 'pattern'" in failure(tools, "files.search", files="docs/**")


def test_of_a_long_line_only_the_neighbourhood_is_shown(tools: ToolRegistry, docs: Path) -> None:
    (docs / "long.txt").write_text("x" * 100_000 + "needle" + "y" * 100_000)
    [line] = value(tools, "files.search", files="docs/long.txt", text="needle")["lines"]
    assert "needle" in line["text"]
    assert len(line["text"]) == 300


def permitted(tools: ToolRegistry, name: str, *, allow: tuple[str, ...], deny: tuple[str, ...], **given: Any) -> Any:
    result: ToolResult = called(name, given, tools=tools, use=ToolUse(name, allow, deny))
    return result.value if result.error is None else result.outcome


def test_what_a_document_denies_is_not_found_either(tools: ToolRegistry) -> None:
    deny = ("docs/deep/*",)
    assert permitted(tools, "files.read", allow=(), deny=deny, path="docs/deep/c.md") == "denied"
    shown = permitted(tools, "files.glob", allow=(), deny=deny, pattern="docs/**/*.md")
    assert [each["path"] for each in shown["files"]] == ["docs/a.md"]
    lines = permitted(tools, "files.search", allow=("docs/*.md",), deny=deny, files="docs/**/*.md", pattern=".")
    assert {line["path"] for line in lines["lines"]} == {"docs/a.md"}
    assert permitted(tools, "files.list", allow=(), deny=deny, path="docs/deep")["entries"] == []
    # `[xy]` is a text for the document, and a choice for the tool.
    glob = permitted(tools, "files.glob", allow=("docs/*b*",), deny=(), pattern="docs/[ab].*")
    assert [each["path"] for each in glob["files"]] == ["docs/b.txt"]


def test_without_folders_each_tool_names_the_setting() -> None:
    for name, arguments in (
        ("files.read", {"path": "docs/a"}),
        ("files.write", {"path": "docs/a", "content": ""}),
        ("files.list", {}),
        ("files.glob", {"pattern": "docs/*"}),
        ("files.search", {"files": "docs/*", "text": "a"}),
    ):
        assert called(name, arguments).error == "no folders are shared with tools: set FLOWYARD_TOOL_FOLDERS"


def test_the_setting_is_read() -> None:
    folders = read_folders("docs=/srv/docs/, out = /srv/my out:write ,x=/a:b:read")
    assert str(folders) == "docs=/srv/docs, out=/srv/my out:write, x=/a:b"
    assert len(read_folders("")) == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("/srv/docs", "should be name=/path"),
        ("docs=", "absolute path"),
        ("docs=srv", "absolute path"),
        ("Docs=/srv", "should be name=/path"),
        ("docs=/srv,docs=/var", "twice"),
        ("all=/", "can't share /"),
        ("all=//", "can't share"),
        ("all=/srv/..", "can't share /"),
        ("proc=/proc/self", "can't share /proc/self"),
    ],
)
def test_a_wrong_setting_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read_folders(text)


def test_a_folder_that_is_gone_is_named_without_its_path_on_the_machine(tools: ToolRegistry, out: Path) -> None:
    out.rmdir()
    error = "the folder 'out' can't be opened: No such file or directory"
    assert failure(tools, "files.list", path="out") == failure(tools, "files.glob", pattern="out/*") == error
