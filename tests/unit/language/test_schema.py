from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowyard.language.reading.places import plain
from flowyard.language.reading.schema import document_schema
from flowyard.language.reading.source import read_tree

DATA = Path(__file__).parents[2] / "data"
NOT_OF_THE_SHAPE = """
    misspelled_keys misspelled_field_key unknown_edge_key missing_flow missing_name missing_state missing_nodes
    missing_id missing_field_type missing_from no_nodes nodes_as_mapping number_as_name quoted_number quoted_boolean
    braces_as_prompt out_of_range bad_api_base bad_on_error bad_retry_error bad_reduce bad_node_id not_yet_triggers
    not_yet_code not_yet_config loop_without_bound loop_bound_too_large state_as_list
"""


def data_of(path: Path) -> Any:
    return plain(read_tree(path.read_text(encoding="utf-8")).root)


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
def test_editors_are_told_which_keys_are_old(path: tuple[str, ...]) -> None:
    shapes = document_schema()["$defs"]
    properties = shapes["ConfigShape"]["properties"] if path[0] == "config" else document_schema()["properties"]
    assert properties[path[-1]]["deprecated"] is True
