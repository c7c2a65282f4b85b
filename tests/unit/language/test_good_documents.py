from __future__ import annotations

from pathlib import Path

import pytest

from flowyard.language.load import load_text
from flowyard.language.nodes import Goto
from flowyard.language.values.types import INT, STR, ListOf, ObjectField, ObjectOf, Simple, nullable
from flowyard.language.workflow import END, START, ErrorReply, Execution, Loop, Map, Next, Routes, Transition, Workflow
from support.documents import load_file
from support.workflows import prompt_node

GOOD = Path(__file__).parents[2] / "data" / "good"
EXAMPLES = Path(__file__).parents[3] / "examples"


def good(name: str) -> Workflow:
    return workflow_of((GOOD / f"{name}.yaml").read_text(encoding="utf-8"))


def workflow_of(text: str) -> Workflow:
    loaded = load_text(text, "good.yaml")
    assert loaded.workflow is not None, [problem.render("good.yaml") for problem in loaded.errors]
    return loaded.workflow


@pytest.mark.parametrize(
    "path",
    [*sorted(GOOD.glob("*.yaml")), *sorted(EXAMPLES.glob("*.yaml"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_good_document_loads_with_no_problem_but_old_keys_and_inputs(path: Path) -> None:
    loaded = load_file(path)
    assert loaded.workflow is not None
    assert {problem.code for problem in loaded.problems} <= {"old-key", "unread-input"}


def test_old_keys_are_named_in_warnings_one_by_one() -> None:
    warnings = [problem for problem in load_file(GOOD / "article.yaml").warnings if problem.code == "old-key"]
    warned = [problem.message.split(" has ")[0] for problem in warnings]
    assert warned == [
        "'config.storage'",
        "'config.observability.mlflow.enabled'",
        "'config.observability.mlflow.tracking_uri'",
        "'config.observability.mlflow.experiment'",
        "'config.observability.logging.level'",
        "'webhook'",
    ]


def test_the_long_form_of_state_gives_types_defaults_and_descriptions() -> None:
    fields = good("article").fields
    assert (fields["topic"].required, fields["topic"].description) == (True, "The article's topic")
    assert (fields["audience"].default, fields["limit"].default) == ("general", 500)
    assert not fields["draft"].is_input
    assert fields["metadata"].has_default
    assert fields["metadata"].default is None
    assert fields["metadata"].type == nullable(
        ObjectOf({"author": ObjectField(STR, required=True), "year": ObjectField(INT), "tags": tags_with_default()})
    )


def tags_with_default() -> ObjectField:
    return ObjectField(ListOf(STR), has_default=True, default=[])


def test_an_integer_default_of_a_float_becomes_a_float() -> None:
    default = good("article").fields["score"].default
    assert (default, type(default)) == (0.0, float)


def test_the_head_of_a_document_is_kept() -> None:
    workflow = good("article")
    assert (workflow.name, workflow.version, workflow.tags) == ("article_generation", "1.10.0", ("writing", "demo"))
    assert (workflow.description, workflow.author) == ("Research and write", "somebody")
    assert workflow.execution == Execution(timeout=120.0)


@pytest.mark.parametrize(("written", "version"), [("1.10", "1.10"), ("'2'", "2"), ("3", "3"), ("0x10", "0x10")])
def test_a_version_is_kept_as_it_is_written(written: str, version: str) -> None:
    short = (GOOD / "short.yaml").read_text(encoding="utf-8")
    assert workflow_of(short.replace("{name: haiku}", f"{{name: haiku, version: {written}}}")).version == version


def test_a_nodes_own_inputs_and_templates_are_read() -> None:
    node = prompt_node(good("article"), "research")
    values = {"subject": "bees", "audience": "all", "many": 3}
    assert node.prompt is not None
    assert node.prompt.render(values.__getitem__) == (
        'Research bees for all, 3 facts.\nReply as JSON: {"research": "..."} and keep {braces}.\n'
    )
    assert node.inputs["many"] == 3


def test_the_reply_is_text_for_one_text_and_an_object_otherwise() -> None:
    article = good("article")
    assert {name: prompt_node(article, name).reply_as for name in article.nodes} == {
        "research": "object",
        "write": "text",
    }
    assert [output.field for output in good("loop").nodes["review"].outputs] == ["good_enough", "feedback"]


@pytest.mark.parametrize(
    ("document", "node", "model"),
    [
        ("article", "write", "google/gemini-1.5-flash"),
        ("article", "research", "google/gemini-1.5-pro"),
        ("routes", "classify", "google/gemini-1.5-flash"),
        ("loop", "write", "google/gemini-1.5-flash"),
        ("tested", "write", "ollama/llama3"),
        ("short", "write", "local/smollm2-135m"),
    ],
)
def test_a_node_calls_the_model_that_the_document_names(document: str, node: str, model: str) -> None:
    assert str(prompt_node(good(document), node).settings) == model


def test_a_nodes_model_settings_override_key_by_key() -> None:
    settings = prompt_node(good("article"), "research").settings
    assert (settings.temperature, settings.max_tokens) == (0.2, 2048)
    assert [str(fallback) for fallback in prompt_node(good("tested"), "write").settings.fallbacks] == [
        "openai/gpt-4o-mini",
        "anthropic/claude-3-haiku",
    ]


TWO_KEYS = """
flow: {name: keys}
state: {fields: {topic: {type: str, required: true}, a: str, b: str, c: str, d: str, e: str}}
result: [a, b, c, d, e]
nodes:
  - {id: a, prompt: '{topic}', outputs: [a], llm: {api_key_env: A_API_KEY}}
  - {id: b, prompt: '{topic}', outputs: [b], llm: {api_key_env: B_API_KEY}}
  - {id: c, prompt: '{topic}', outputs: [c], llm: {api_base: 'HTTP://localhost:1'}}
  - {id: d, prompt: '{topic}', outputs: [d], llm: {fallbacks: [{provider: groq, model: m}]}}
  - {id: e, prompt: '{topic}', outputs: [e], llm: {api_key_env: A_API_KEY}}
config: {llm: {provider: openai, model: gpt-4o}}
"""


def test_one_model_with_two_keys_addresses_or_fallbacks_is_checked_with_each() -> None:
    checked = [(m.api_key_env, m.api_base, len(m.fallbacks)) for m in workflow_of(TWO_KEYS).models]
    assert checked == [("A_API_KEY", None, 0), ("B_API_KEY", None, 0), (None, "http://localhost:1", 0), (None, None, 1)]


def test_the_retries_of_the_document_are_those_of_its_nodes() -> None:
    assert good("article").nodes["write"].retry.max_retries == 3
    own = good("own_loop").nodes["try_it"].retry
    assert (own.max_retries, own.errors) == (2, frozenset({"timeout"}))


def transitions(document: str) -> dict[str, Transition]:
    return dict(good(document).transitions)


def test_routes_are_read_in_order_with_their_default() -> None:
    transition = transitions("routes")["classify"]
    assert isinstance(transition, Routes)
    assert ([route.to for route in transition.routes], transition.default) == (["bug", "praise"], "other")


def test_edges_with_conditions_are_one_set_of_routes() -> None:
    transition = transitions("short_routes")["look"]
    assert isinstance(transition, Routes)
    assert ([route.to for route in transition.routes], transition.default) == (["big", "small"], END)
    last = transitions("short_routes")["big"]
    assert isinstance(last, Routes)
    assert last.default == END


def test_a_loop_goes_back_exits_and_counts() -> None:
    loop = transitions("loop")["review"]
    assert isinstance(loop, Loop)
    assert (loop.to, loop.until.text, loop.max_iterations, loop.exit_to) == ("write", "good_enough", 3, "publish")
    own = transitions("own_loop")["try_it"]
    assert isinstance(own, Loop)
    assert (own.to, own.exit_to) == ("try_it", END)


def test_a_map_names_its_item_and_its_results() -> None:
    assert transitions("map")["split"] == Map("summarize", "documents", "summaries", "document", 4, "skip")


def test_no_edges_mean_the_nodes_in_order() -> None:
    assert transitions("short") == {START: Next(("write",)), "write": Next((END,))}


def test_forks_and_joins_may_be_lists_or_edges() -> None:
    assert transitions("fork")["begin"] == Next(("for_it", "against"))
    assert transitions("fork")["against"] == Next(("judge",)) == transitions("fork")["for_it"]
    assert transitions("two_edge_join") == {
        START: Next(("left", "right")),
        "left": Next(("both",)),
        "right": Next(("both",)),
        "both": Next((END,)),
    }


def test_an_appended_field_takes_one_element_from_a_node() -> None:
    fork = good("fork")
    assert fork.fields["notes"].default == []
    assert [output.type for output in fork.nodes["begin"].outputs] == [STR]
    assert fork.nodes["judge"].on_error == Goto("rescue")
    assert fork.nodes["rescue"].on_error == "continue"


def test_every_type_can_be_declared_with_a_default() -> None:
    fields = good("all_types").fields
    assert fields["k"].type == nullable(STR)
    assert fields["j"].type == Simple("any")
    assert fields["l"].default == [{"x": [1.0, 2.5]}]


def test_test_cases_keep_replies_and_expectations() -> None:
    first, second = good("tested").cases
    assert first.replies["write"] == (ErrorReply("rate_limited"), "The sea")
    assert first.replies["ask"] == '{"name": "Ann", "ages": [3]}'
    assert (first.expect.nodes, first.expect.calls) == (("ask", "write"), {"write": 2})
    assert second.expect.status == "failed"


SAME = """\
# a comment
state: {fields: {"poem": "str", 'topic': {required: true, type: str}}}
nodes:
- outputs: ["poem"]
  id: write
  prompt: |-
    Write a haiku about {topic}.
flow:
  name: haiku
"""


def test_the_digest_is_that_of_the_content() -> None:
    assert workflow_of(SAME).digest == good("short").digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: haiku", "name: haiku2"),
        ("Write a", "Write  a"),
        ("required: true", "default: x"),
        ("  name:", "  version: 1\n  name:"),
    ],
)
def test_the_digest_changes_with_the_content(before: str, after: str) -> None:
    assert before in SAME
    assert workflow_of(SAME.replace(before, after)).digest != workflow_of(SAME).digest
