"""Tools of files, called by the nodes of documents: by an executor, with a real database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flowyard.runs.run import Run
from support.attempts import Attempts, MiniExecutor, WireModel
from support.tool_calls import with_folders
from support.wire.behaviour import Behaviour, Text
from support.wire.server import Request
from support.workflows import document


def sharing(executor: MiniExecutor, folder: Path) -> MiniExecutor:
    executor.parts = replace(executor.parts, tools=with_folders(out=folder))
    return executor


async def ran(attempts: Attempts, text: str, folder: Path) -> Run:
    await attempts.submit(text)
    run = await sharing(attempts.executor(), folder).run()
    assert run is not None
    return run


def copying(source: str, *, allow: str = "out/*") -> str:
    return document(
        "",
        fields="text: str\nwritten: dict",
        nodes=f"""\
- {{id: read, tool: files.read, with: {{path: '{source}'}}, outputs: [text]}}
- id: write
  tool: {{files.write: {{allow: ['{allow}']}}}}
  with: {{path: out/new/copy.txt, content: '{{text}}'}}
  outputs: [written]
""",
    )


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_nodes_read_and_write_files_where_their_document_may(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("read me")
    run = await ran(attempts, copying("out/a.txt"), tmp_path)
    assert run.outputs is not None
    assert run.outputs["written"] == {"path": "out/new/copy.txt", "size": 7, "is_new": True}
    assert (tmp_path / "new/copy.txt").read_text() == "read me"
    denied = await ran(attempts, copying("out/a.txt", allow="out/other/*"), tmp_path)
    assert denied.error is not None
    assert (denied.error.code, "not permitted" in denied.error.message) == ("tool_error", True)


async def test_no_node_leaves_the_folder(attempts: Attempts, tmp_path: Path) -> None:
    inside, secret = tmp_path / "inside", "what is outside"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text(secret)
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "hard.txt").hardlink_to(tmp_path / "secret.txt")
    (inside / "up").symlink_to(tmp_path)
    absolute = str(tmp_path / "secret.txt")
    for path in ("out/../secret.txt", absolute, "out/link.txt", "out/hard.txt", "out/up/secret.txt"):
        run = await ran(attempts, copying(path), inside)
        assert run.error is not None
        assert run.error.code == "tool_error"
        assert secret not in run.error.message
        assert not (inside / "new").exists()


async def test_nodes_pass_rows_from_one_file_to_another(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("name;zip\nAda;01234\n")
    text = document(
        "",
        fields="people: dict\nwritten: dict",
        nodes="""\
- {id: read, tool: csv.read, with: {path: out/people.csv}, outputs: [people]}
- id: write
  tool: {csv.write: {allow: ['out/*']}}
  with: {path: out/copy.csv, rows: '{people.rows}'}
  outputs: [written]
""",
    )
    run = await ran(attempts, text, tmp_path)
    assert run.error is None
    assert (tmp_path / "copy.csv").read_text() == "name,zip\nAda,01234\n"


async def test_a_model_works_on_files_and_learns_what_it_may_not_do(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Total: 12\n")
    seen = list[str]()

    async def ask(request: Request) -> str | Behaviour:
        results = [message["content"] for message in request.body["messages"] if message["role"] == "tool"]
        if not results:
            calls = (
                ("files_search", {"files": "out/**", "pattern": r"Total: (\d+)"}),
                ("files_write", {"path": "out/b.md", "content": "12"}),
                ("files_write", {"path": "out/.git/hooks/post-checkout", "content": "12"}),
                ("files_read", {"path": "/etc/passwd"}),
            )
            return Text("", calls=calls)
        seen.extend(results)
        return "done"

    tools = "[files.search, files.read, files.write: {allow: '*'}]"
    text = document("", fields="answer: str", nodes=f"- {{id: ask, prompt: go, outputs: [answer], tools: {tools}}}")
    await attempts.submit(text)
    run = await sharing(attempts.executor(WireModel({"ask": ask})), tmp_path).run()
    assert run is not None
    assert run.outputs == {"answer": "done"}
    assert ['"path": "out/a.md"' in seen[0], '"is_new": true' in seen[1]] == [True, True]
    assert ["hidden" in seen[2], "no folder" in seen[3] or "begins with" in seen[3]] == [True, True]
    assert names_in(tmp_path) == ["a.md", "b.md"]
