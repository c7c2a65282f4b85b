"""Answers that are hard to render: the chat page renders any text in time, whatever a model writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from flowyard_gateway.chat_page.markdown import MOST, render
from support.campaigns import Campaigns
from support.holding import held_s

PIECES: Final = (
    "[", "![", "[a](", "[a][", "*a ", "a**", "_a", "`a", "~~a", "<a:", "&", ">", "- ", "|a", "# \n", "1. a\n\n",
    "> " * 15,
    "[a]: b\n",
)  # fmt: skip
LONGEST_S: Final = 10.0
"""CPU seconds on a slow machine: half of that elsewhere. What isn't bounded takes minutes."""


@pytest.mark.parametrize("pieces", [PIECES[::6], pytest.param(PIECES, marks=pytest.mark.long)], ids=["some", "all"])
def test_texts_that_are_hard_to_parse_are_rendered_quickly(campaign: Campaigns, pieces: Sequence[str]) -> None:
    for piece in pieces:
        text = (piece * MOST)[:MOST]
        with campaign("answers that are hard to render").attempt(piece):
            assert held_s(lambda text=text: render(text), repeats=1) < LONGEST_S  # type: ignore[misc]


# So many that they are as long as a text may be.
@pytest.mark.parametrize("blocks", [1, pytest.param(12, marks=pytest.mark.long)])
def test_code_that_is_hard_to_colour_is_rendered_quickly(campaign: Campaigns, blocks: int) -> None:
    """Java's lexer needs a time by the square of it."""
    text = f"```java\n{'a ' * 3_900}\n```\n" * blocks
    with campaign("code that is hard to colour").attempt(blocks):
        assert held_s(lambda: render(text), repeats=1) < LONGEST_S
        assert "<code>" in render(text)
