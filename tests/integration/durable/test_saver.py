from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import DetectedCapabilities
from langgraph.types import Overwrite, Send

from flowyard.durable.encoding import LARGE, decode, encode
from flowyard.durable.saver import Saver
from flowyard.errors.runs import CommitRefused
from support.attempts import Attempts, WireModel
from support.shapes import CHAIN
from support.stored import Stored
from support.workflows import document

BIG: Final = "x" * (LARGE + 1)


async def test_it_passes_langgraphs_conformance_suite_in_everything_that_it_claims(stored: Stored) -> None:
    async def made() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
        for table in ("checkpoints", "checkpoint_writes", "checkpoint_values"):
            await stored.database.execute(f"DELETE FROM {table}")
        yield Saver(stored.checkpoints)

    report = await validate(checkpointer_test(name="Flowyard")(made))
    results = report.results.items()
    claimed = {
        capability.value for capability in DetectedCapabilities.from_instance(Saver(stored.checkpoints)).detected
    }
    assert {name: result.failures for name, result in results if result.failures} == {}
    assert {name for name, result in results if result.passed and result.tests_passed} == claimed
    assert claimed >= {"put", "put_writes", "get_tuple", "list", "delete_thread"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, "\u0000\ud800", None, True]},
        Send("node", {"index": 0, "item": {"x": 1}}),
        [Send("a", {"i": 0}), Send("b", None)],
        Overwrite([1, 2]),
        # What a user's values look like is never taken for something else.
        ["node", {"index": 0}],
        [["node", 1], "send"],
        {"lc": 1, "type": "constructor", "id": ["os", "system"]},
    ],
)
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    assert decode(json.loads(encode(value))) == value


def test_what_is_no_json_is_refused() -> None:
    for value in (object(), b"bytes", float("nan"), {1, 2}):
        with pytest.raises(CommitRefused):
            encode(value)


async def put(saver: Saver, thread: str, parent: str | None, values: dict[str, Any], versions: dict[str, int]) -> str:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"], checkpoint["channel_versions"] = values, versions  # type: ignore[typeddict-item]
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": parent}}
    stored = await saver.aput(config, checkpoint, {"source": "loop", "step": 0}, versions)  # type: ignore[arg-type]
    return str(stored["configurable"]["checkpoint_id"])


async def test_a_large_value_is_referred_to_and_comes_back(stored: Stored) -> None:
    saver = Saver(stored.checkpoints)
    values = {"big": BIG, "list": [BIG], "small": "y", "sends": [Send("a", 1)], "wide": "\U0001f600" * (LARGE // 10)}
    await put(saver, "t", None, values, dict.fromkeys(values, 1))
    found = await saver.aget_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
    assert found is not None
    assert found.checkpoint["channel_values"] == values
    assert (await stored.counts())["checkpoint_values"] == 3
    assert await stored.database.value("SELECT max(length(checkpoint::text)) FROM checkpoints") < 1000


async def test_a_runs_head_is_where_it_resumes_and_never_the_latest(stored: Stored, attempts: Attempts) -> None:
    await attempts.submit(CHAIN)
    model = WireModel(hold={"b"})
    dying = attempts.executor(model)
    claim = await dying.take()
    dying.start(claim)
    await model.holding.wait()
    await dying.crash()
    await attempts.lose_executor(claim.run_id)
    # By the clock of a confused process, this one is the newest.
    await stored.database.execute(
        "INSERT INTO checkpoints (thread_id, ns, id, checkpoint, metadata)"
        " SELECT thread_id, ns, 'ffffffff', '{\"values\": {}}', '{}' FROM checkpoints"
    )
    model.hold.clear()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, result.outputs) == ("succeeded", {"a": "a", "b": "b", "c": "c"})
    assert model.calls == {"a": 1, "b": 2, "c": 1}


async def test_only_the_head_is_kept_under_a_claim_and_nothing_after_the_end(
    stored: Stored, attempts: Attempts
) -> None:
    counts: list[dict[str, int]] = []

    async def answer(_call: object) -> str:
        counts.append(await stored.counts())
        return "x"

    await attempts.submit(CHAIN)
    await attempts.executor(WireModel(dict.fromkeys("abc", answer))).run()
    # Before the first step has ended, to begin anew repeats nothing.
    assert [count["checkpoints"] for count in counts][1:] == [1, 1]
    after = await stored.counts()
    assert after["checkpoints"] == after["checkpoint_writes"] == after["checkpoint_values"] == after["claims"] == 0


async def test_a_large_value_is_stored_once_and_goes_when_it_is_replaced(stored: Stored, attempts: Attempts) -> None:
    loop = document(
        "a b c",
        fields="big: str",
        nodes="- {id: grow, prompt: grow, outputs: [big]}",
        edges="""
        - {from: START, to: grow}
        - {from: grow, to: a}
        - {from: a, to: b}
        - {from: b, to: c}
        - {from: c, loop: {to: grow, until: "iterations('c') >= 3", max_iterations: 5, exit_to: END}}
        """,
    )
    seen: list[list[str]] = []

    async def grow(_call: object) -> str:
        if model.calls["grow"] == 2:
            # It crashes. Who resumes knows what the head refers to, and what goes with the next value.
            first.committing.cancel()
            await asyncio.Event().wait()
        return BIG + str(model.calls["grow"])

    async def look(_call: object) -> str:
        rows = await stored.database.rows("SELECT right(value::text, 3) AS tail FROM checkpoint_values")
        seen.append([row["tail"] for row in rows])
        return "x"

    run_id = await attempts.submit(loop)
    model = WireModel({"grow": grow, **dict.fromkeys("abc", look)})
    first = attempts.executor(model)
    first.start(await first.take())
    await asyncio.wait([first.committing])
    await first.crash()
    await attempts.lose_executor(run_id)
    result = await attempts.executor(model).run()
    assert result is not None
    assert result.status == "succeeded"
    assert seen == [[f'x{call}"'] for call in (1, 1, 1, 3, 3, 3, 4, 4, 4)]


async def test_a_large_value_that_comes_back_at_once_is_still_there(stored: Stored, attempts: Attempts) -> None:
    """One commit that takes a value away and brings it back keeps it."""
    await attempts.submit(CHAIN)
    one = attempts.executor(WireModel())
    claim = await one.take()
    journal = one.journal(claim)
    one.saver.journals[str(claim.run_id)] = journal
    thread = str(claim.run_id)
    await put(one.saver, thread, None, {"v": BIG}, {"v": 1})
    await journal.writer.stop()
    await journal.writer.commit_rest()
    parent = await put(one.saver, thread, None, {"v": "small"}, {"v": 2})
    parent = await put(one.saver, thread, parent, {"v": BIG}, {"v": 3})
    head = await put(one.saver, thread, parent, {"v": BIG, "w": "y"}, {"v": 3, "w": 4})
    await journal.writer.stop()
    await journal.writer.commit_rest()
    found = await one.saver.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_id": head}})
    assert found is not None
    assert found.checkpoint["channel_values"] == {"v": BIG, "w": "y"}
    assert (await stored.counts())["checkpoint_values"] == 1
