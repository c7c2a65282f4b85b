"""How texts are split and escaped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.chats.discord import escape as discord_escape
from flowyard.chats.platforms import CHATS, PLATFORMS, Chat
from flowyard.chats.slack import escape as slack_escape
from flowyard.chats.splitting import CUT, EMPTY, split_text, units
from support.lazily import lazily

if TYPE_CHECKING:
    import discord
else:
    discord = lazily("discord")


def plain(text: str) -> str:
    return text


def split(text: str, limit: int = 10, most: int = 9) -> list[str]:
    return split_text(text, limit=limit, most=most, escape=plain)


def test_a_text_is_split_between_paragraphs_then_lines_then_words() -> None:
    assert split("one two\n\nthree four") == ["one two", "three four"]
    assert split("one two\nthree four") == ["one two", "three four"]
    assert split("one two three") == ["one two", "three"]
    assert split("abcdefghijklm") == ["abcdefghij", "klm"]


def test_the_indent_of_a_line_is_kept() -> None:
    assert split("def f():\n    x") == ["def f():", "    x"]


@pytest.mark.parametrize("sign", ["e\u0301", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤\ufe0f"])
def test_what_is_seen_as_one_character_is_never_split(sign: str) -> None:
    for before in range(1, 12):
        pieces = split("x" * before + sign, limit=12)
        assert any(sign in piece for piece in pieces)


def test_a_text_that_is_too_long_ends_with_a_mark() -> None:
    pieces = split("word " * 100, limit=20, most=3)
    assert len(pieces) == 3
    assert pieces[-1].endswith(CUT)
    assert all(units(piece) <= 20 for piece in pieces)


@pytest.mark.parametrize("blank", ["", " \n", "\0"])
def test_a_blank_text_is_no_empty_message(blank: str) -> None:
    assert split(blank) == [EMPTY]


@given(st.text(alphabet="ab \n&<*_😀\u0301\u200dhttps://", min_size=1, max_size=300), st.sampled_from(CHATS))
def test_messages_fit_and_none_is_blank(text: str, chat: Chat) -> None:
    platform = PLATFORMS[chat]
    pieces = split_text(text, limit=40, most=5, escape=platform.escape)
    assert 1 <= len(pieces) <= 5
    assert all(units(piece) <= 40 and piece.strip() for piece in pieces)


@given(st.text(alphabet=st.sampled_from("abc &<>;\n"), min_size=1, max_size=200))
def test_no_word_is_lost(text: str) -> None:
    pieces = split_text(text, limit=40, most=100, escape=slack_escape)
    whole = "".join(pieces).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert re.sub(r"\s", "", whole) == re.sub(r"\s", "", text) or not text.strip()


def test_the_limit_holds_for_the_escaped_text() -> None:
    pieces = split_text("&" * 30, limit=40, most=9, escape=slack_escape)
    assert pieces == ["&amp;" * 8] * 3 + ["&amp;" * 6]


def test_characters_outside_of_the_basic_plane_count_twice() -> None:
    assert split("😀" * 6) == ["😀" * 5, "😀"]


def test_slack_gets_entities() -> None:
    assert slack_escape("<!channel> a & b") == "&lt;!channel&gt; a &amp; b"


@pytest.mark.parametrize("text", ["*bold* _it_ ~~no~~ ||spoiler|| `code`", "> quote", "[a](b)", "a\\*b"])
def test_discord_escapes_at_least_what_its_library_escapes(text: str) -> None:
    """What both leave: a backslash before each mark, which Discord takes away."""
    ours = discord_escape(text)
    assert re.sub(r"\\(.)", r"\1", ours) == text
    theirs = discord.utils.escape_markdown(text)
    assert {i for i, _ in _marks(theirs)} <= {i for i, _ in _marks(ours)}


def test_discord_keeps_links_and_mentions_nobody() -> None:
    assert discord_escape("https://a.example/x_y_z <@1> @everyone") == "https://a.example/x_y_z \\<\\@1\\> \\@everyone"


def _marks(text: str) -> list[tuple[int, str]]:
    """The escaped characters, by their places in the text without backslashes."""
    matches = enumerate(re.finditer(r"\\(.)|.", text, re.DOTALL))
    return [(at, match[1]) for at, match in matches if match[1] is not None]
