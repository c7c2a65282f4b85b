from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowyard.language.load import load_text
from flowyard.language.reading.document import document_schema
from flowyard.language.reading.source import read_tree
from flowyard.language.reading.source_document import to_data

DATA = Path(__file__).parents[2] / "data"
NOT_OF_THE_SHAPE = """
    misspelled_keys misspelled_field_key unknown_edge_key missing_flow missing_name missing_state missing_nodes
    missing_id missing_field_type missing_from no_nodes nodes_as_mapping number_as_name quoted_number quoted_boolean
    braces_as_prompt out_of_range bad_api_base bad_on_error bad_retry_error bad_reduce bad_node_id
    not_yet_config loop_without_bound loop_bound_too_large state_as_list
    missing_prompt missing_outputs loop_without_condition route_without_to unknown_version
    unknown_type bad_field_name edge_leads_nowhere misspelled_condition
"""


def data_of(path: Path) -> Any:
    return to_data(read_tree(path.read_text(encoding="utf-8")).root)


def test_the_schema_is_valid_itself_and_says_its_draft() -> None:
    schema = document_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", sorted((DATA / "good").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_good_document_validates(path: Path) -> None:
    assert list(Draft202012Validator(document_schema()).iter_errors(data_of(path))) == []


@pytest.mark.parametrize("name", NOT_OF_THE_SHAPE.split())
def test_a_document_of_the_wrong_shape_does_not_validate(name: str) -> None:
    assert not Draft202012Validator(document_schema()).is_valid(data_of(DATA / "bad" / f"{name}.yaml"))


@pytest.mark.parametrize("path", [("config", "storage"), ("config", "observability"), ("webhook",)], ids=".".join)
def test_the_schema_marks_old_keys_for_editors(path: tuple[str, ...]) -> None:
    shapes = document_schema()["$defs"]
    properties = shapes["ConfigShape"]["properties"] if path[0] == "config" else document_schema()["properties"]
    assert properties[path[-1]]["deprecated"] is True


HEAD = {"flow": {"name": "x"}, "state": {"fields": {"a": "str"}}}
NODE = {"id": "w", "prompt": "x", "outputs": "a"}


def with_edge(**edge: Any) -> dict[str, Any]:
    return {**HEAD, "nodes": [NODE], "edges": [edge]}


@pytest.mark.parametrize(
    "document",
    [
        {**HEAD, "nodes": [{"id": "w", "outputs": "a"}]},
        {**HEAD, "nodes": [{"id": "w", "prompt": "x"}]},
        {**HEAD, "nodes": [{**NODE, "id": "START"}]},
        {**HEAD, "nodes": [NODE], "schema_version": "2.0"},
        {**HEAD, "nodes": [NODE], "state": {"fields": {"a": "strr"}}},
        {**HEAD, "nodes": [NODE], "state": {"fields": {"a": {"type": "text"}}}},
        {**HEAD, "nodes": [NODE], "state": {"fields": {"a-b": "str"}}},
        {**HEAD, "nodes": [NODE], "state": {"fields": {"class": "str"}}},
        with_edge(**{"from": "w"}),
        with_edge(**{"from": "w", "to": "END", "routes": [{"default": "END"}]}),
        with_edge(**{"from": "w", "condition": "a == 'x'", "routes": [{"default": "END"}]}),
        with_edge(**{"from": "w", "routes": [{"to": "END"}]}),
        with_edge(**{"from": "w", "routes": [{"if": "a == 'x'"}]}),
        with_edge(**{"from": "w", "routes": [{"if": "a == 'x'", "else": True, "to": "END"}]}),
        with_edge(**{"from": "w", "loop": {"max_iterations": 3}}),
        with_edge(**{"from": "w", "loop": {"max_iterations": 3, "until": "a == ''", "condition_field": "a"}}),
    ],
    ids=str,
)
def test_the_schema_refuses_what_validating_refuses_of_the_shape(document: dict[str, Any]) -> None:
    assert not Draft202012Validator(document_schema()).is_valid(document)
    assert load_text(json.dumps(document), "x.yaml").workflow is None


@pytest.mark.parametrize("kind", ["str", "list[str] | null", "dict[str, list[int]]", "int?", " list [ any ] "])
def test_the_schema_knows_every_way_to_write_a_type(kind: str) -> None:
    document = {**HEAD, "nodes": [NODE], "state": {"fields": {"a": kind, "\u00e9t\u00e9": {"type": kind}}}}
    assert Draft202012Validator(document_schema()).is_valid(document)
    assert load_text(json.dumps(document), "x.yaml").workflow is not None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("5m", 300), ("2h", 7200), ("500ms", 0.5), ("1h30m", 5400), ("1d2h3m4s5ms", 93784.005)],
)
def test_a_time_with_units_is_seconds_wherever_a_time_is_given(text: str, seconds: float) -> None:
    timed = {"timeout": "1m", "retry": {"initial_delay": "1ms", "max_delay": "1d"}, "llm": {"timeout": text}}
    config = {"llm": {"provider": "scripted", "timeout": "3s"}, "execution": {"timeout": text}}
    document = {**HEAD, "nodes": [{**NODE, **timed}], "config": config}
    assert Draft202012Validator(document_schema()).is_valid(document)
    workflow = load_text(json.dumps(document), "x.yaml").workflow
    assert workflow is not None
    node = workflow.nodes["w"]
    assert (node.timeout, node.retry.initial_delay, node.retry.max_delay) == (60, 0.001, 86_400)
    assert (node.models[0].timeout, workflow.execution.timeout) == (seconds, seconds)


@pytest.mark.parametrize("text", ["", "s", "10", "10 s", "1m1h", "1s1s", "5min", "-1s", "1.s", "٣s", "1e3s"])
def test_what_is_no_time_fits_neither_the_schema_nor_the_language(text: str) -> None:
    document = {**HEAD, "nodes": [{**NODE, "timeout": text}]}
    assert not Draft202012Validator(document_schema()).is_valid(document)
    assert load_text(json.dumps(document), "x.yaml").workflow is None
