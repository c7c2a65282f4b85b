"""An executor checks what a model writes as a workflow as its own installation would."""

from __future__ import annotations

import pytest

from support.executors import open_yard
from support.in_process import executing
from support.wire.behaviour import Text

DRAFTS = """\
flow: {name: drafts}
state: {fields: {draft: {type: str, format: workflow}}}
nodes:
  - {id: write, prompt: Write., outputs: [draft], retry: 0}
config: {llm: MODEL}
"""
HOOK = """\
flow: {name: hooked}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
  push: {webhook: {path: p, secret: "${env:NAME_OF_IT}"}, inputs: {topic: "{payload.topic}"}}
tests:
  - {name: t, inputs: {topic: a}, replies: {write: b}, expect: {outputs: {poem: b}}}
"""


@pytest.mark.parametrize(
    ("name", "status"), [("PUSH_WEBHOOK_SECRET", "succeeded"), ("MY_OWN", "succeeded"), ("PGPASSWORD", "failed")]
)
async def test_the_variables_that_webhooks_may_name_are_those_of_the_executor(
    database_url: str, nats_url: str, name: str, status: str
) -> None:
    draft = f"```yaml\n{HOOK.replace('NAME_OF_IT', name)}```"
    async with open_yard(database_url, nats_url, lambda _: Text(draft)) as yard:
        workflow = await yard.apply(DRAFTS)
        async with executing(yard, poll_s=0.1, hook_variables="*_WEBHOOK_SECRET,MY_OWN"):
            run = await yard.ended(await yard.submit(workflow))
    assert run.status == status
    if run.error is not None:
        assert "PGPASSWORD" in run.error.message
