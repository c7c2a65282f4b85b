"""What an executor logs of a run."""

from __future__ import annotations

from typing import Any

import pytest

from support.executors import ExecutorProcess, open_yard
from support.wire.behaviour import Behaviour, Status, Text
from support.wire.server import Request

SECRET_TOPIC, SECRET_REPLY = "a topic that nobody may read", "a reply that nobody may read"
POEM = """\
flow: {name: poem}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: 'About {topic}.', outputs: [poem], retry: 1}
config:
  llm: MODEL
"""


def about(executor: ExecutorProcess, run_id: object) -> list[dict[str, Any]]:
    return [line for line in executor.lines if line.get("run_id") == str(run_id)]


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_a_run_is_a_few_facts_and_its_steps_are_for_who_looks_closely(
    database_url: str, nats_url: str, level: str
) -> None:
    answers: list[Behaviour] = [Status(500, message=SECRET_REPLY), Text(SECRET_REPLY)]

    def reply(_: Request) -> Behaviour:
        return answers.pop(0)

    async with open_yard(database_url, nats_url, reply) as yard:
        executor = await yard.executor("one", log_level=level)
        run_id = await yard.submit(await yard.apply(POEM), topic=SECRET_TOPIC)
        await yard.ended(run_id)
        await executor.logged("run succeeded")
        lines = about(executor, run_id)
        assert {line["trace_id"] for line in lines} == {run_id.hex}
        ours = [line["event"] for line in lines if line["logger"].startswith("flowyard")]
        steps = ["step started", "model called", "step retrying", "model called", "step finished"]
        wanted = ["run started", *steps, "run succeeded"] if level == "debug" else ["run succeeded"]
        assert sorted(ours) == sorted(wanted)
        assert SECRET_TOPIC not in str(executor.lines)
        assert SECRET_REPLY not in str(executor.lines)


async def test_of_a_call_of_a_tool_the_name_and_the_kind_of_its_failure_are_logged(
    database_url: str, nats_url: str
) -> None:
    """What is wrong with a call may quote the model."""
    answers = [Text("", calls=(("math_eval", {"expression": SECRET_REPLY}), ("time_now", {}))), Text(SECRET_REPLY)]

    def reply(_: Request) -> Behaviour:
        return answers.pop(0)

    async with open_yard(database_url, nats_url, reply) as yard:
        executor = await yard.executor("one", log_level="debug")
        text = POEM.replace("retry: 1}", "tools: [math.eval, time.now]}")
        run_id = await yard.submit(await yard.apply(text), topic=SECRET_TOPIC)
        assert (await yard.ended(run_id)).status == "succeeded"
        await executor.logged("run succeeded")
        calls = [line for line in about(executor, run_id) if line["event"] == "tool called"]
        assert sorted((line["tool"], line.get("code")) for line in calls) == [
            ("math.eval", "failed"),
            ("time.now", None),
        ]
        assert SECRET_REPLY not in str(executor.lines)
