"""Operations of HTTP APIs as tools: their names, arguments and effects, from descriptions of both versions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowyard.language.openapi.arguments import Placed
from flowyard.language.openapi.description import ADDRESS, Api, BadDescription, Operation, read_api
from flowyard.language.openapi.references import MOST_VALUES, BadReference, References

PETS = yaml.safe_load((Path(__file__).parents[2] / "data" / "openapi" / "pets.yaml").read_text())


def read(document: Any = PETS, **given: Any) -> Api:
    return read_api(document, **{"name": None, "operations": None, "server": None, "source": None, **given})


def operation(name: str) -> Operation:
    [match] = [each for each in read().operations if each.facts.name == f"pet_shop.{name}"]
    return match


def changed(path: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(PETS)
    inner, (*steps, last) = document, path.split(".")
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return document


def test_each_operation_is_a_tool_with_what_it_may_do() -> None:
    api = read()
    assert {each.facts.name: (each.method, sorted(each.facts.effects), each.facts.once) for each in api.operations} == {
        "pet_shop.listPets": ("GET", ["network"], False),
        "pet_shop.addPet": ("POST", ["network", "writes"], True),
        "pet_shop.get_pet": ("GET", ["network"], False),
        "pet_shop.setPet": ("PUT", ["network", "writes"], False),
        "pet_shop.delete_pets_petid": ("DELETE", ["network", "writes"], False),
        "pet_shop.logIn": ("POST", ["network", "writes"], True),
    }
    assert {each.facts.guarded for each in api.operations} == {ADDRESS}
    assert api.operations[0].url == "https://pets.example.com/v1/pets"
    assert api.faults == ["upload: its body is neither JSON nor a form: image/png"]


def test_parameters_are_arguments() -> None:
    pets = operation("listPets")
    assert pets.facts.description == "Lists pets.\n\nThe newest first."
    assert pets.facts.parameters["properties"] == {
        "X-Tenant": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "ids": {"type": "array", "items": {"type": "integer"}},
        "filter": {"type": "object", "properties": {"kind": {"type": "string"}}},
        "page_size": {"type": "integer", "exclusiveMinimum": 0, "description": "How many."},
    }
    assert pets.facts.parameters["required"] == []
    assert pets.placed["page_size"] == Placed("query", "page[size]")
    assert operation("get_pet").facts.parameters["required"] == ["petId"]


def test_the_parts_of_a_body_are_arguments_of_their_own_without_patterns_and_without_ends() -> None:
    pet = {"type": "object", "properties": {"name": {"type": "string"}, "parent": {}}}
    assert operation("addPet").facts.parameters == {
        "type": "object",
        "properties": {
            "X-Tenant": {"type": "string"},
            "name": {"type": "string"},
            "kind": {"anyOf": [{"type": "string", "enum": ["cat", "dog"]}, {"type": "null"}]},
            "parent": pet,
        },
        "required": ["name", "kind"],
        "additionalProperties": False,
    }


def test_a_body_whose_parts_have_names_of_parameters_is_one_argument() -> None:
    put = operation("setPet")
    assert put.facts.parameters["properties"]["body"] == {"type": "object", "properties": {"petId": {"type": "string"}}}
    assert (put.placed["body"].where, put.facts.parameters["required"]) == ("whole body", ["petId"])


def test_only_the_operations_that_are_wanted_are_tools() -> None:
    api = read(operations=["listPets", "listPet"], name="pets")
    assert [each.facts.name for each in api.operations] == ["pets.listPets"]
    assert api.faults == ["no operation 'listPet' (did you mean 'listPets'?)"]


@pytest.mark.parametrize(
    ("servers", "source", "server", "address"),
    [
        ([{"url": "/v2"}], "https://a.example/docs/openapi.json", None, "https://a.example/v2/login"),
        (None, "https://a.example/docs/openapi.json", None, "https://a.example/login"),
        ([{"url": "https://b.example/"}], None, "http://c.example/x/", "http://c.example/x/login"),
        ([{"url": "/v2"}], None, None, None),
    ],
)
def test_where_the_server_is(servers: Any, source: str | None, server: str | None, address: str | None) -> None:
    api = read(changed("servers", servers), source=source, server=server, operations=["logIn"])
    assert [each.url for each in api.operations] == ([address] if address else [])
    assert address or "its server, '/v2', is no address" in api.faults[0]


@pytest.mark.parametrize("document", [None, [], {"swagger": "2.0"}, {"openapi": "4.0.0"}, {"openapi": 3}])
def test_what_is_no_description_is_refused(document: Any) -> None:
    with pytest.raises(BadDescription):
        read(document)


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"$ref": "https://evil.example/a.json"}, "refers to another document"),
        ({"$ref": "other.yaml#/a"}, "refers to another document"),
        ({"$ref": "#/components/schemas/Nothing"}, "refers to nothing"),
        ({"$ref": "#/info/title"}, "is no schema"),
        ({"$ref": "#/components/schemas/B0"}, f"more than {MOST_VALUES:,} values"),
    ],
)
def test_references_are_bounded_and_lead_to_no_other_document(schema: Any, fault: str) -> None:
    document = changed("paths./login.post.requestBody.content", {"application/json": {"schema": schema}})
    for number in range(11):
        inner = {"$ref": f"#/components/schemas/B{number + 1}"}
        document["components"]["schemas"][f"B{number}"] = {"type": "object", "properties": {"a": inner, "b": inner}}
    document["components"]["schemas"]["B11"] = {}
    assert fault in " ".join(read(document, operations=["logIn"]).faults)


def test_a_schema_that_is_too_long_for_models_is_refused() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "x" * 20_000}}}
    document = changed("paths./login.post.requestBody.content", {"application/json": {"schema": schema}})
    assert "more than 20,000 characters" in read(document, operations=["logIn"]).faults[0]


def test_what_only_yaml_knows_becomes_json() -> None:
    content = yaml.safe_load(
        "application/json: {schema: {type: string, enum: [2026-12-01], default: -.inf, description: not NaN}}"
    )
    [login] = read(changed("paths./login.post.requestBody.content", content), operations=["logIn"]).operations
    assert login.facts.arguments["body"] == {
        "type": "string",
        "enum": ["2026-12-01"],
        "default": None,
        "description": "not NaN",
    }


def test_references_to_each_other_end() -> None:
    references = References({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}})
    with pytest.raises(BadReference):
        references.resolved({"$ref": "#/a"})
    assert references.inlined({"$ref": "#/a"}) == {}
