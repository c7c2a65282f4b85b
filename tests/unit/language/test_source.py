from __future__ import annotations

import json

import pytest

from flowyard.language.load import load_text
from flowyard.language.problems import Position
from flowyard.language.reading.source import MappingNode, ScalarNode, SourceError, decode, read_tree
from flowyard.language.reading.source_document import to_data
from support.workflows import prompt_node


def scalar(text: str, key: str = "a") -> ScalarNode:
    node = read_tree(text).root.entries[key].value
    assert isinstance(node, ScalarNode)
    return node


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: one X", 1, 8),
        ("a: 'it''s X'", 1, 11),
        ('a: "one\\n\\u00e9\\x41\\U0001F41D X"', 1, 31),
        ("a: |\n  one\n  two X\n", 3, 7),
        ("a: |2-  # why\n     X\n", 2, 6),
        ("a: |\n  one\n\n    two\n   X\n", 5, 4),
        ("a: >\n  one\n  two\n\n  three X\n", 5, 9),
        ("a: >-\n  one\n    kept\n  X\n", 4, 3),
        ("a: one\n  two\n  X\n", 3, 3),
        ("a: 'one\n\n   two\n X'\n", 4, 2),
        ('a: "one\\\n   two\n   X"\n', 3, 4),
        ("a: |\r\n  one\r\n  X\r\n", 3, 3),
        ("a: |\r  one\r  X\r", 3, 3),
        ('a: "one\\\r\n  X"\r\n', 2, 3),
        ("é🐝: 1\na: 🐝é X", 2, 7),
        ("\ufeffa: X", 1, 4),
        ("\ufeff# 🐝\na: |\n  é X", 3, 5),
        ("a: &anchor 'one X'", 1, 17),
        ('a: !!str "one X"', 1, 15),
        ("a: &anchor |\n  one X\n", 2, 7),
        ("{b: [c, {d: e}], a: X}", 1, 21),
        ('a: "\u2028 X"', 1, 7),
    ],
)
def test_a_character_of_a_text_is_found_in_its_source(text: str, line: int, column: int) -> None:
    node = scalar(text)
    assert node.position_of(node.text.index("X")) == Position(line, column)


def test_the_end_of_a_text_is_behind_its_last_character() -> None:
    node = scalar("a: 'one'")
    assert node.position_of(len(node.text)) == Position(1, 8)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("y", "y"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("! yes", "yes"),
        ("|\n  12\n", "12\n"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(written: str, value: object) -> None:
    read = scalar(f"a: {written}").value
    assert (read, type(read)) == (value, type(value))


def test_anchors_and_merges_are_followed() -> None:
    tree = read_tree("base: &base {a: 1, b: 2}\nmore: {<<: [*base, {c: 3}], b: 4}\nlist: [*base]\n")
    assert tree.problems == []
    assert to_data(tree.root) == {
        "base": {"a": 1, "b": 2},
        "more": {"a": 1, "b": 4, "c": 3},
        "list": [{"a": 1, "b": 2}],
    }


def test_keys_and_values_know_where_they_stand() -> None:
    root = read_tree("# first\na:\n  - b: c\n").root
    a = root.entries["a"]
    assert a.key.position == Position(2, 1)
    assert a.value.position == Position(3, 3)
    assert isinstance(root, MappingNode)


@pytest.mark.parametrize("data", [b"a: 1", b"\xef\xbb\xbfa: 1"])
def test_a_byte_order_mark_is_no_part_of_the_text(data: bytes) -> None:
    assert decode(data) == "a: 1"


@pytest.mark.parametrize(("text", "problem"), [("a: [1", "yaml-syntax"), ("", "empty-document"), ("- a", "wrong-type")])
def test_what_is_no_document_at_all_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SourceError) as refused:
        read_tree(text)
    assert refused.value.problem.code == problem


def json_document(prompt: str) -> str:
    fields = {"topic": {"type": "str", "required": True}, "poem": "str"}
    nodes = [{"id": "write", "prompt": prompt, "outputs": ["poem"]}]
    return json.dumps({"flow": {"name": "x"}, "state": {"fields": fields}, "nodes": nodes})


def test_json_may_spell_a_character_as_two_halves() -> None:
    loaded = load_text(json_document("\U0001f600 {topic} \\ud83d\\ude00"), "x.yaml")
    assert loaded.workflow is not None
    prompt = prompt_node(loaded.workflow, "write").prompt
    assert prompt is not None
    assert prompt.text == "\U0001f600 {topic} \\ud83d\\ude00"


def test_a_problem_behind_two_halves_is_placed_where_it_stands() -> None:
    text = json_document("\U0001f600\U0001f601 {topik}")
    (problem,) = load_text(text, "x.yaml").problems
    assert problem.position == Position(1, text.index("topik") + 1)
