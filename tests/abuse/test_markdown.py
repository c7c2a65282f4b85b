"""Answers that are hard to render: the chat page renders any text in time, whatever a model writes."""

from __future__ import annotations

from typing import Final

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


def test_texts_that_are_hard_to_parse_are_rendered_quickly(campaign: Campaigns) -> None:
    for piece in PIECES:
        text = (piece * MOST)[:MOST]
        with campaign("answers that are hard to render").attempt(piece):
            assert held_s(lambda text=text: render(text), repeats=1) < LONGEST_S  # type: ignore[misc]


def test_code_that_is_hard_to_colour_is_rendered_quickly(campaign: Campaigns) -> None:
    """Java's lexer needs a time by the square of it. One block, and so many that they are as long as a text may be."""
    for what, blocks in (("one block", 1), ("many blocks", 12)):
        text = f"```java\n{'a ' * 3_900}\n```\n" * blocks
        with campaign("code that is hard to colour").attempt(what):
            assert held_s(lambda text=text: render(text), repeats=1) < LONGEST_S  # type: ignore[misc]
            assert "<code>" in render(text)
