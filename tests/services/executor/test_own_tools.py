"""An executor calls the functions of its folder, and announces them."""

from __future__ import annotations

from pathlib import Path

from flowyard.storage.announced_tools import AnnouncedTools
from support.executors import Yard
from support.in_process import executing
from support.waiting import eventually

DOCUMENT = """\
flow: {name: calc}
state: {fields: {n: {type: int, required: true}, doubled: int}}
nodes:
  - {id: double, tool: {calc.twice: {allow: '*'}}, with: {n: {expr: n}}, outputs: [doubled]}
"""


async def test_a_run_calls_a_function_of_the_folder(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("def twice(n: int) -> int:\n    'Doubles.'\n    return 2 * n\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    workflow = await yard.apply(DOCUMENT)
    async with executing(yard, poll_s=0.1, tools=str(tmp_path)):
        run = await yard.ended(await yard.submit(workflow, n=21))
        assert (run.status, run.outputs) == ("succeeded", {"doubled": 42})

        async def announced() -> bool:
            found = (await AnnouncedTools(yard.database).read()).announcements
            return [data["name"] for each in found for data in each.tools] == ["calc.twice"]

        await eventually(announced)


async def test_an_applied_workflow_whose_tool_has_vanished_fails_and_says_so(yard: Yard) -> None:
    workflow = await yard.apply(DOCUMENT)
    async with executing(yard, poll_s=0.1):
        run = await yard.ended(await yard.submit(workflow, n=21))
    assert run.status == "failed"
    assert run.error is not None
    assert (run.error.code, run.error.message) == ("tool_error", "this executor has no tool 'calc.twice'")
