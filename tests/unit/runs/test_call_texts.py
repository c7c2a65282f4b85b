"""What was said in a call is kept, but not more than a limit of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowyard.runs.call_texts import MOST_CHARACTERS, CallTexts
from flowyard.runs.events import ModelCalled, StepId

SAID = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"})
CALL = ModelCalled(StepId("a", 1), "openai", "m", 1.0, None, 1, 2, None, None, None, SAID, 0, "because", "hm")


def test_what_was_said_is_kept_as_it_was() -> None:
    texts = CallTexts.of(CALL)
    assert texts == CallTexts(SAID, "because", "hm")
    assert CallTexts.from_data(texts.data) == texts


@pytest.mark.parametrize("messages", [SAID, SAID[1:], ({**SAID[1], "name": "me"},), SAID[:1], ()], ids=str)
def test_what_is_stored_is_short_and_comes_back_whole(messages: tuple[dict[str, str], ...]) -> None:
    texts = CallTexts(messages, "because")
    assert CallTexts.from_data(texts.short) == texts
    is_plain = messages == SAID[1:]
    assert texts.short == ({"prompt": "why?", "reply": "because"} if is_plain else texts.data)


def test_nothing_is_kept_of_a_call_whose_prompts_arent_logged() -> None:
    assert CallTexts.of(replace(CALL, messages=None)) is None


def test_long_texts_are_cut_the_reply_last_and_what_is_missing_is_counted() -> None:
    long = ({"role": "user", "content": "p" * MOST_CHARACTERS}, {"role": "user", "content": "more"})
    texts = CallTexts.of(replace(CALL, messages=long, reply="r" * 150_000))
    assert texts is not None
    assert texts.reply == "r" * 150_000
    first, second = (message["content"] for message in texts.messages)
    assert first == "p" * 49_998 + "… (150,002 more characters)"
    assert second == "… (4 more characters)"
