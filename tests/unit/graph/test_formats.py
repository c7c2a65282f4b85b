"""Outputs with `format: workflow`: what the model writes is checked, and sent back to it with what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from flowyard.graph.run import run_workflow
from flowyard.language.canned import read_reply
from flowyard.language.values.formats import has_format
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import RetryScheduled
from support.workflows import Outcome, Recorded, compiled, load

DOCUMENT = """\
flow: {name: drafts}
state:
  fields:
    wish: {type: str, default: tea}
    draft: {type: str, format: workflow}
    others:
      type: object
      schema: {plans: {type: 'list[str]', format: workflow}, by: {type: 'dict[str, str | null]', format: workflow}}
nodes:
  - {id: write, prompt: "{wish}", outputs: [draft], retry: 2}
  - {id: more, prompt: "{draft}", outputs: [others], retry: 0}
config:
  llm: {provider: scripted}
"""
OTHERS: Final[dict[str, Any]] = {"plans": [], "by": {}}


async def run(replies: dict[str, object], document: str = DOCUMENT) -> tuple[Outcome, list[str]]:
    """Refuses each text with the word `wrong`. Returns also the texts that were checked."""
    checked: list[str] = []

    async def check(text: str) -> Sequence[str]:
        checked.append(text)
        return ["4:1: no field 'a'", "5:2: no field 'b'"] if "wrong" in text else []

    recorded = Recorded(ScriptedModel({node: read_reply(reply) for node, reply in replies.items()}))
    events: list[object] = []
    result = await run_workflow(
        compiled(document), {}, run_id="r", model=recorded, emit=events.append, check_documents=check
    )
    return Outcome(result, events, recorded.calls, []), checked  # type: ignore[arg-type]


async def test_a_reply_that_is_refused_is_sent_back_with_all_that_is_wrong() -> None:
    outcome, checked = await run({"write": ["wrong", "right"], "more": OTHERS})
    assert outcome.result.outputs["draft"] == "right"
    assert checked == ["wrong", "right"]
    assert outcome.prompts_of("write") == [
        "tea",
        "Your reply can't be used: 4:1: no field 'a'; 5:2: no field 'b'. Reply again.",
    ]
    (retry,) = outcome.of(RetryScheduled)
    assert retry.error.code == "invalid_output"
    assert retry.error.reply == "wrong"


async def test_a_reply_is_text_and_no_json() -> None:
    outcome, _ = await run({"write": "Which tea?", "more": OTHERS})
    assert outcome.calls[0].schema is None
    assert outcome.result.outputs["draft"] == "Which tea?"


async def test_tries_are_bounded() -> None:
    outcome, checked = await run({"write": "wrong", "more": OTHERS})
    assert len(checked) == 3
    assert outcome.result.error is not None
    assert outcome.result.error.code == "invalid_output"


async def test_a_budget_bounds_them_too() -> None:
    outcome, checked = await run({"write": "wrong", "more": OTHERS}, f"{DOCUMENT}  budget: {{model_calls: 2}}\n")
    assert len(checked) == 2
    assert outcome.result.error is not None
    assert outcome.result.error.code == "budget_exceeded"


@pytest.mark.parametrize(
    "others", [{"plans": ["right", "wrong"], "by": {}}, {"plans": [], "by": {"a": None, "b": "wrong"}}]
)
async def test_texts_in_lists_dicts_and_objects_are_checked(others: dict[str, object]) -> None:
    outcome, checked = await run({"write": "right", "more": others})
    assert "wrong" in checked
    assert outcome.result.status == "failed"


async def test_inputs_and_set_fields_are_not_checked() -> None:
    document = """\
flow: {name: given}
state: {fields: {a: {type: str, format: workflow, default: wrong}, b: {type: str, format: workflow}}}
nodes:
  - {id: copy, set: {b: "{a}"}}
"""
    outcome, checked = await run({}, document)
    assert outcome.result.outputs == {"b": "wrong"}
    assert checked == []


async def test_where_documents_can_not_be_checked_none_is_accepted() -> None:
    model = ScriptedModel({"write": "right"})
    result = await run_workflow(compiled(DOCUMENT), {}, run_id="r", model=model, emit=lambda event: None)
    assert result.error is not None
    assert "can't be checked here" in result.error.message


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("{type: str, format: workflow}", True),
        ("{type: 'dict[str, list[str | null]] | null', format: workflow}", True),
        ("{type: object, schema: {a: {type: str, format: workflow}}}", True),
        ("{type: str, pattern: '[a-z]+'}", False),
        ("{type: 'list[str]', max_items: 3}", False),
        ("{type: object, schema: {a: str}}", False),
        ("any", False),
    ],
)
def test_only_types_with_a_format_are_looked_through(kind: str, expected: bool) -> None:  # noqa: FBT001
    """A reply may be a list of a million elements."""
    workflow = load(
        f"flow: {{name: f}}\nstate: {{fields: {{a: {kind}}}}}\nnodes: [{{id: n, prompt: x, outputs: [a]}}]\n"
    )
    assert has_format(workflow.fields["a"].type) is expected
