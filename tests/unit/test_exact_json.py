"""What is said of a text that isn't JSON: our words, not Python's."""

from __future__ import annotations

import json
import re

import pytest

from flowyard.exact_json import event_json, json_fault, json_fault_in_words, json_mapping
from flowyard.language.addresses import address_fault

PYTHONS = re.compile(r"Expecting|Extra data|Unterminated|Invalid|\(char|recursion|JSON5|utf-8-sig|cast|appear")


def fault(text: str | bytes) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return json_fault(error)
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1 column 1: no value begins here"),
        ("No.", "line 1 column 1: no value begins here"),
        ('{"a":', "line 1 column 6: no value begins here"),
        ('{\n"a" 1}', "line 2 column 5: a colon is missing"),
        ("{'a': 1}", "line 1 column 2: no key in double quotes begins here"),
        ("[1 2]", "line 1 column 4: a comma, or the end of the list or object, is missing"),
        ("{} {}", "line 1 column 4: the value has ended before"),
        ('"ab', "line 1 column 1: a text begins here and doesn't end"),
        ('"a\nb"', "line 1 column 3: a text contains a line break or another control character"),
        (r'"\x"', "line 1 column 2: a text contains an escape that JSON doesn't know"),
        (r'"\u12"', "line 1 column 3: a text contains an escape that JSON doesn't know"),
        ("\ufeff1", "line 1 column 1: a byte order mark comes first"),
        ("9" * 5000, "a number has more than 4,300 digits"),
        ("[" * 100_000, "it nests too deeply"),
        (b'"\xff"', "it isn't UTF-8"),
    ],
)
def test_a_mistake_in_json_is_told_in_our_words(text: str | bytes, words: str) -> None:
    assert fault(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "NaN is no number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is no number of JSON"),
        ('{"a": -1e999}', "the number -1e999 is too large"),
        ('{"digits": 1, "digits": 2}', "the key 'digits' is there twice"),
        ("9" * 5000, "a number has more than 4,300 digits"),
        ('["\\u0000"]', "line 1 column 3: a text contains the character U+0000 (\\u0000)"),
        ('{"a":' * 101 + "1" + "}" * 101, "it nests deeper than 100 levels"),
        ("[" * 500 + "]" * 500, "it nests deeper than 100 levels"),
    ],
)
def test_what_no_value_may_be_is_found_before_it_is_stored(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words are compared
        event_json(text.encode())
    assert json_fault(caught.value) == words


@pytest.mark.parametrize("text", ["[" * 100 + "1" + "]" * 100, '{"a": 1e300}', json.dumps([[1.5], "[" * 200, {}] * 90)])
def test_what_values_may_be_is_read(text: str) -> None:
    assert event_json(text.encode()) == json.loads(text)


def test_the_words_of_a_later_python_are_not_shown() -> None:
    assert json_fault_in_words("Illegal trailing comma before end of object") == (
        "a comma comes before the end of a list or object"
    )
    assert json_fault_in_words("Something new (char 3)") == "it can't be read"


@pytest.mark.parametrize("text", ['{"a":', "x", '{"a": 1,}', "[" * 100_000])
def test_a_setting_that_isnt_json_is_told_in_our_words(text: str) -> None:
    with pytest.raises(ValueError, match="should be JSON such as") as caught:
        json_mapping(text, what="models to prices", example="{}")
    assert not PYTHONS.search(str(caught.value))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://h:abc", "must be an address with a port from 1 to 65535, not 'abc'"),
        ("http://h:99999/v1", "must be an address with a port from 1 to 65535, not '99999'"),
        ("http://[::1", "must be an address: in brackets is an IPv6 address, such as http://[::1]:8000"),
        ("http://[zz]/v1", "must be an address: in brackets is an IPv6 address, such as http://[::1]:8000"),
        ("http://a[b]", "must be an address: in brackets is an IPv6 address, such as http://[::1]:8000"),
        ("http://me:secret@h:abc", "must be an address"),
    ],
)
def test_a_mistake_in_an_address_is_told_in_our_words(address: str, words: str) -> None:
    assert address_fault(address) == words
