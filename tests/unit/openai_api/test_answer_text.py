"""What a client gets of a reply, piece by piece, and that it is the whole text in the end, or nothing more."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.llm.reasoning import split_reasoning
from flowyard.openai_api.answer_text import AnswerText

TEXTS = st.text(alphabet="ab <>/think\n.", max_size=60)


def sent(*pieces: str, call: int = 1, text: AnswerText | None = None) -> list[str]:
    text = text or AnswerText()
    return [text.add(piece, epoch=1, call=call) for piece in pieces]


def test_pieces_are_passed_on_as_they_come() -> None:
    text = AnswerText()
    assert sent("Hello", " wor", "ld", text=text) == ["Hello", " wor", "ld"]
    assert text.finish("Hello world") == ""


def test_white_space_around_the_reply_never_reaches_the_client() -> None:
    text = AnswerText()
    assert sent("\n ", " Hello", " \n", "world", " \n", text=text) == ["", "Hello", "", " \nworld", ""]
    assert text.finish("Hello \nworld") == ""


@pytest.mark.parametrize(
    "pieces",
    [
        ["<th", "ink>let me", " see</think>", "\n\nYes", ", it is"],
        ["<think>a</think>Yes", ", it is"],
        [" <THINKING>a</THINKING>\n<think>b", "</think>\n", "Yes, it is"],
    ],
)
def test_reasoning_in_front_of_the_reply_is_held_back(pieces: list[str]) -> None:
    text = AnswerText()
    assert "".join(sent(*pieces, text=text)) == "Yes, it is"
    assert text.finish(split_reasoning("".join(pieces))[1]) == ""


def test_a_reply_that_begins_with_another_tag_is_passed_on_at_once() -> None:
    assert sent("<b>", "bold</b>") == ["<b>", "bold</b>"]


def test_a_second_try_with_the_same_beginning_continues_what_the_client_has() -> None:
    text = AnswerText()
    assert sent("Hello wor", text=text) == ["Hello wor"]
    assert sent("Hello", " world", call=2, text=text) == ["", "ld"]
    assert (text.finish("Hello world"), text.restarts) == ("", 1)


def test_of_a_second_try_that_differs_the_client_gets_nothing_and_the_end_shows_it() -> None:
    text = AnswerText()
    assert sent("Hello", text=text) == ["Hello"]
    assert sent("Good morning", call=2, text=text) == [""]
    assert text.finish("Good morning") is None
    assert text.sent == "Hello"


def test_a_third_try_may_still_continue_what_the_client_has() -> None:
    text = AnswerText()
    sent("Hello", text=text)
    sent("Good", call=2, text=text)
    assert sent("Hello again", call=3, text=text) == [" again"]


def test_what_comes_late_of_an_earlier_try_is_nothing() -> None:
    text = AnswerText()
    sent("Hello", call=2, text=text)
    assert sent(" nobody", call=1, text=text) == [""]
    assert text.finish("Hello world") == " world"


def test_what_was_lost_of_the_tokens_is_completed_from_the_whole_text() -> None:
    text = AnswerText()
    sent("Hel", text=text)
    assert (text.finish("Hello world"), text.finish("Hello world")) == ("lo world", "")


@given(TEXTS, st.lists(st.integers(0, 60), max_size=6))
def test_however_a_reply_is_cut_the_pieces_and_the_rest_are_its_text(reply: str, cuts: list[int]) -> None:
    whole = split_reasoning(reply)[1]
    places = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
    text, pieces = AnswerText(), [reply[a:b] for a, b in pairwise(places)]
    got = "".join(sent(*pieces, text=text))
    missing = text.finish(whole)
    if missing is not None:
        assert got + missing == whole
    else:
        # A closing tag without an opening one makes reasoning of what came before it: only the end shows that.
        assert "</think>" in reply.lower() or "</reasoning>" in reply.lower()


@given(st.text(alphabet="ab \n", max_size=40))
def test_of_a_plain_reply_only_white_space_is_held_back(reply: str) -> None:
    text, shown = AnswerText(), ""
    for part in accumulate(reply):
        shown += text.add(part[-1], epoch=1, call=1)
        assert shown == part.strip()
