"""What is shown of a version of a workflow that is being written."""

from __future__ import annotations

from flowyard.api.drafts import DraftView
from flowyard.drafts.check import checked_document
from flowyard.drafts.cost import known_prices
from flowyard.drafts.view import draft_view, read_draft
from flowyard.language.installation import ANY
from flowyard.llm.own_prices import NO_PRICES

HAIKU = """\
flow: {name: haiku}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "A haiku about {topic}", outputs: [poem]}
tests:
  - {name: writes, inputs: {topic: rain}, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}
"""


def view(text: str, last: str | None = None) -> DraftView:
    draft = read_draft(text, last, ANY)
    tests = checked_document(draft.to_test, ANY).test_faults if draft.to_test is not None else []
    return draft_view(draft, tests, known_prices(NO_PRICES))


def reply(document: str) -> str:
    return f"Here:\n```yaml\n{document}```\n"


def test_a_document_is_shown_with_its_graph_cost_and_tests() -> None:
    shown = view(reply(HAIKU))
    assert (shown.document, shown.name, shown.valid, shown.passed) == (HAIKU, "haiku", True, True)
    assert [field.name for field in shown.inputs] == ["topic"]
    assert shown.graph is not None
    assert [node.id for node in shown.graph.nodes] == ["START", "write", "END"]
    assert "START --> write" in shown.drawing
    assert shown.cost is not None
    assert (shown.cost.usd, shown.cost.why) == ("0", "its models cost nothing")
    assert [(test.name, test.passed) for test in shown.tests] == [("writes", True)]


def test_a_whole_document_is_as_good_as_a_reply() -> None:
    assert view(HAIKU) == view(reply(HAIKU))


def test_a_text_without_a_document_shows_nothing() -> None:
    assert view("Which topic?") == DraftView()


def test_problems_are_shown_with_their_places() -> None:
    shown = view(reply(HAIKU.replace("{topic}", "{topc}")))
    assert [(p.line, p.column, p.code) for p in shown.problems] == [(4, 41, "unknown-field")]
    assert (shown.valid, shown.graph, shown.cost, shown.tests, shown.drawing) == (False, None, None, [], "")


def test_tests_that_fail_are_shown_with_why() -> None:
    shown = view(reply(HAIKU.replace("poem: Drops", "poem: Snow")))
    assert (shown.valid, shown.passed) == (True, False)
    assert [(test.passed, test.faults) for test in shown.tests] == [
        (False, ['outputs.poem: expected "Snow", got "Drops"'])
    ]


def test_a_document_without_tests_has_a_remark() -> None:
    shown = view(HAIKU.partition("tests:")[0])
    assert (shown.valid, shown.passed) == (True, False)
    assert "no tests" in shown.remarks[0]


def test_tests_that_nobody_ran_are_shown_with_why() -> None:
    shown = draft_view(read_draft(HAIKU, None, ANY), None, known_prices(NO_PRICES))
    assert (shown.valid, shown.passed, shown.untested) == (True, False, True)
    assert [(test.name, test.passed) for test in shown.tests] == [("writes", None)]
    assert shown.remarks == ["the tests weren't run: no executor answered"]


def test_several_documents_are_not_checked() -> None:
    shown = view(reply(HAIKU) + reply(HAIKU.replace("haiku", "other")))
    assert "2 yaml blocks" in shown.remarks[0]
    assert not shown.valid


def test_what_has_changed_is_shown() -> None:
    changed = HAIKU.replace("A haiku", "A poem")
    assert view(reply(changed), reply(HAIKU)).difference.splitlines()[:2] == ["--- before", "+++ now"]
    assert '+  - {id: write, prompt: "A poem about {topic}", outputs: [poem]}' in view(changed, HAIKU).difference
    assert view(HAIKU, reply(HAIKU)).difference == ""
    assert view(HAIKU, "a question").difference == ""
