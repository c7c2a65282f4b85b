"""An executor checks what a model writes as a workflow as its own installation would."""

from __future__ import annotations

import pytest

from support.executors import open_yard
from support.in_process import executing
from support.sandbox_service import open_place, running_nats
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


CODE = """\
flow: {name: counting}
state: {fields: {topic: {type: str, required: true}, size: int}}
nodes:
  - {id: count, code: "result = len(topic)", outputs: [size]}
tests:
  - {name: t, inputs: {topic: abc}, expect: {outputs: {size: SIZE}}}
"""


@pytest.mark.parametrize(("size", "status"), [("3", "succeeded"), ("4", "failed")])
async def test_the_code_of_a_draft_is_executed_in_its_tests(database_url: str, size: str, status: str) -> None:
    draft = f"```yaml\n{CODE.replace('SIZE', size)}```"
    with running_nats() as nats:
        url = nats.url("executor").get_secret_value()
        async with (
            open_place(nats) as place,
            place.sandbox(),
            open_yard(database_url, url, lambda _: Text(draft)) as yard,
        ):
            workflow = await yard.apply(DRAFTS)
            async with executing(yard, poll_s=0.1):
                run = await yard.ended(await yard.submit(workflow))
    assert run.status == status
