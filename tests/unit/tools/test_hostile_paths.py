"""Paths that try to leave a shared folder, what is in it that isn't a file, and a thread that swaps names meanwhile."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest

from flowyard.tools.registry import ToolRegistry
from support.tool_calls import called, with_folders

SECRET: Final = "what is outside"
CALLS: Final = 60


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text(SECRET)
    return outside


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub/a.txt").write_text("inside")
    return out


@pytest.fixture
def tools(out: Path) -> ToolRegistry:
    return with_folders(out=out)


def read(tools: ToolRegistry, path: str) -> object:
    result = called("files.read", {"path": path}, tools=tools)
    assert result.outcome in {"ok", "failed", "invalid_arguments"}
    return result.value


PATHS: Final = {
    "above": "out/../outside/a.txt",
    "above, from deep": "out/sub/../../outside/a.txt",
    "above, at once": "../outside/a.txt",
    "encoded": "out/%2e%2e/outside/a.txt",
    "with backslashes": "out\\..\\outside\\a.txt",
    "a backslash in a name": "out/..\\outside/a.txt",
    "full width": "out/\uff0e\uff0e/outside/a.txt",
    "a one dot leader": "out/\u2024\u2024/outside/a.txt",
    "a division slash": "out/..\u2215outside\u2215a.txt",
    "absolute": "/etc/passwd",
    "absolute after the folder": "out//etc/passwd",
    "a process": "/proc/self/environ",
    "a root of a process": "out/../../../../../../proc/self/root/etc/passwd",
    "a URL": "file:///etc/passwd",
    "a home": "~/.ssh/id_rsa",
    "a variable": "out/$HOME",
    "NUL": "out/sub/a.txt\0.png",
    "NUL in the folder": "out\0/sub/a.txt",
    "a line break": "out/sub/a.txt\n",
    "half a pair": "out/\ud800",
    "an escaped byte": "out/\udcff",
    "a dot": "out/./sub/a.txt",
    "an empty name": "out//sub/a.txt",
    "a slash at the end": "out/sub/a.txt/",
    "a long name": "out/" + "a" * 300,
    "a long name in bytes": "out/" + "é" * 200,
    "a long path": "out/" + "a/" * 400 + "a",
    "too long a path": "out/" + "a" * 100_000,
    "nothing": "",
    "spaces": "   ",
    "another case": "OUT/sub/a.txt",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_path_leads_out_of_the_folder(tools: ToolRegistry, tmp_path: Path, outside: Path, path: str) -> None:
    del outside
    before = sorted(tmp_path.rglob("*"))
    assert read(tools, path) is None
    for name, arguments in (
        ("files.write", {"path": path, "content": "x", "overwrite": True}),
        ("files.glob", {"pattern": f"{path}/*"}),
        ("files.search", {"files": f"{path}/**", "text": "a"}),
        ("files.list", {"path": path or "/"}),
    ):
        # A name that is only odd may be written, and stays in the folder.
        result = called(name, arguments, tools=tools)
        assert SECRET not in str(result.data)
        if name != "files.write":
            assert result.outcome != "ok" or not (result.value.get("files") or result.value.get("entries"))
    made = set(tmp_path.rglob("*")) - set(before)
    assert all(each.is_relative_to(tmp_path / "out") for each in made)
    assert (tmp_path / "out/sub/a.txt").read_text() == "inside"


def link_to_file(out: Path, outside: Path) -> None:
    (out / "x.txt").symlink_to(outside / "a.txt")


def link_within(out: Path, outside: Path) -> None:
    del outside
    (out / "x.txt").symlink_to("sub/a.txt")


def link_to_nothing(out: Path, outside: Path) -> None:
    (out / "x.txt").symlink_to(outside / "new.txt")


def hard_link(out: Path, outside: Path) -> None:
    os.link(outside / "a.txt", out / "x.txt")


def fifo(out: Path, outside: Path) -> None:
    del outside
    os.mkfifo(out / "x.txt")


def unix_socket(out: Path, outside: Path) -> None:
    # The name of a socket is short, and that of a folder of tests isn't.
    with socket.socket(socket.AF_UNIX) as listener:
        short = Path(f"/tmp/flowyard-{os.getpid()}")
        listener.bind(str(short))
        short.rename(out / "x.txt")
    del outside


@pytest.mark.parametrize(
    "make", [link_to_file, link_within, link_to_nothing, hard_link, fifo, unix_socket], ids=lambda make: make.__name__
)
def test_what_is_no_file_with_a_single_name_is_neither_read_nor_written_through(
    tools: ToolRegistry, out: Path, outside: Path, make: Callable[[Path, Path], None]
) -> None:
    make(out, outside)
    assert read(tools, "out/x.txt") is None
    called("files.write", {"path": "out/x.txt", "content": "x", "overwrite": True}, tools=tools)
    called("files.write", {"path": "out/x.txt", "content": "y"}, tools=tools)
    assert (outside / "a.txt").read_text() == SECRET
    assert (out / "sub/a.txt").read_text() == "inside"
    assert [each.name for each in outside.iterdir()] == ["a.txt"]


def test_a_linked_folder_is_not_entered(tools: ToolRegistry, out: Path, outside: Path) -> None:
    (out / "link").symlink_to(outside)
    os.link(outside / "a.txt", out / "hard.txt")
    assert read(tools, "out/link/a.txt") is None
    written = called("files.write", {"path": "out/link/new.txt", "content": "x"}, tools=tools)
    assert written.error == "'out/link' is a symbolic link, or no folder"
    assert not (outside / "new.txt").exists()
    found = called("files.glob", {"pattern": "out/**"}, tools=tools)
    assert [each["path"] for each in found.value["files"]] == ["out/sub/a.txt"]
    assert called("files.search", {"files": "out/**", "text": "outside"}, tools=tools).value["lines"] == []
    assert called("files.glob", {"pattern": "out/link/*"}, tools=tools).outcome == "failed"
    assert called("files.list", {"path": "out/link"}, tools=tools).outcome == "failed"
    listed = called("files.list", {"path": "out"}, tools=tools)
    assert [each["path"] for each in listed.value["entries"]] == ["out/sub"]


def test_a_shared_folder_may_itself_be_named_by_a_link(tmp_path: Path, out: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    assert read(with_folders(docs=tmp_path / "link"), "docs/sub/a.txt") == "inside"


def test_names_that_no_text_can_hold_are_not_listed(tools: ToolRegistry, out: Path) -> None:
    (Path(os.fsdecode(os.fsencode(out) + b"/\xff.txt"))).write_text("x")
    (out / "new\nline").write_text("x")
    listed = called("files.list", {"path": "out"}, tools=tools)
    assert [each["path"] for each in listed.value["entries"]] == ["out/sub"]


@contextmanager
def swapping(name: Path, target: Path) -> Iterator[Event]:
    """Another thread puts a link to the target in the place of a name, and the name back, again and again."""
    aside, end, swapped = name.with_name("aside"), Event(), Event()

    def swap() -> None:
        while not end.is_set():
            name.rename(aside)
            # Meanwhile, a tool may have made what was missing.
            with suppress(FileExistsError):
                name.symlink_to(target)
            while aside.exists():
                remove(name)
                with suppress(OSError):
                    aside.rename(name)
            swapped.set()

    thread = Thread(target=swap)
    thread.start()
    try:
        yield swapped
    finally:
        end.set()
        thread.join()


def remove(name: Path) -> None:
    with suppress(OSError):
        if name.is_dir() and not name.is_symlink():
            shutil.rmtree(name)
        else:
            name.unlink()


def test_nobody_who_swaps_a_folder_meanwhile_shows_or_changes_what_is_outside(
    tools: ToolRegistry, out: Path, outside: Path
) -> None:
    with swapping(out / "sub", outside) as swapped:
        assert swapped.wait(30)
        for i in range(CALLS):
            assert read(tools, "out/sub/a.txt") in {None, "inside"}
            called("files.write", {"path": f"out/sub/{i}.txt", "content": "x"}, tools=tools)
            found = called("files.search", {"files": "out/**", "text": SECRET}, tools=tools)
            assert found.outcome == "failed" or found.value["lines"] == []
    assert [each.name for each in outside.iterdir()] == ["a.txt"]


def test_nobody_who_swaps_a_file_meanwhile_shows_or_changes_what_is_outside(
    tools: ToolRegistry, out: Path, outside: Path
) -> None:
    with swapping(out / "sub/a.txt", outside / "a.txt") as swapped:
        assert swapped.wait(30)
        for _ in range(CALLS):
            assert read(tools, "out/sub/a.txt") in {None, "inside"}
            called("files.write", {"path": "out/sub/a.txt", "content": "inside", "overwrite": True}, tools=tools)
    assert (outside / "a.txt").read_text() == SECRET


@pytest.mark.parametrize("make", [link_to_file, hard_link, fifo], ids=lambda make: make.__name__)
def test_what_takes_the_place_of_a_file_after_it_was_checked_is_not_read(
    tools: ToolRegistry, out: Path, outside: Path, make: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "x.txt").write_text("inside")
    check, swapped = os.stat, list[object]()

    def check_and_swap(path: Any, **options: Any) -> os.stat_result:
        about = check(path, **options)
        if path == "x.txt" and not swapped:
            swapped.append(path)
            (out / "x.txt").unlink()
            make(out, outside)
        return about

    monkeypatch.setattr(os, "stat", check_and_swap)
    assert read(tools, "out/x.txt") is None
    assert swapped
