"""What models write is shown and never obeyed."""

from __future__ import annotations

import re

import pytest

from flowyard_gateway.chat_page.growing import GrowingText
from flowyard_gateway.chat_page.markdown import MOST, render

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<div hx-get='/chat/logout' hx-trigger='load'>x</div>",
    "<style>*{display:none}</style>",
    "<!--[if IE]><script>alert(1)</script><![endif]-->",
    "<math><mi><mglyph><style><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](vbscript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/png;base64,AAAA)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](https://evil.test/pixel.png)",
    "![x](data:image/svg+xml;base64,PHN2Zy8+)",
    "![x](data:text/html,<script>alert(1)</script>)",
    '![" onerror="alert(1)](https://evil.test/x.png "t")',
    '[x](https://evil.test/" onclick="alert(1))',
    "[r]: javascript:alert(1)\n\n[r]",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "```<img/src=x/onerror=alert(1)>\nx\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "| <script>alert(1)</script> | b |\n| :-: | --- |\n| <img src=x onerror=alert(1)> | c |",
    "# <script>alert(1)</script>",
    "- <script>alert(1)</script>",
    "> <script>alert(1)</script>",
    "\x00<script>alert(1)</script>",
    "</div></section></li><script>alert(1)</script>",
]
_TAG = re.compile(r"<(/?)([a-zA-Z0-9]+)([^>]*)>")
_ALLOWED = {"href", "title", "class", "src", "alt", "start", "align", "tabindex", "rel", "target"}


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_text_is_executed_or_loaded(text: str) -> None:
    for html in (render(text), *GrowingText().grow(text), *GrowingText().grow(f"a\n\n{text}\n\nb")):
        for _, tag, attributes in _TAG.findall(html):
            assert tag not in ("script", "style", "svg", "math", "iframe", "form", "input", "button", "link", "meta")
            names = set(re.findall(r'([a-zA-Z:-]+)="', attributes))
            assert names <= _ALLOWED, (html, names)
        for address in re.findall(r'href="([^"]*)"', html):
            assert re.match(r"https?://|mailto:|#|/", address), html
        assert "<img" not in html
        assert "style=" not in re.sub(r"&lt;.*?&gt;", "", html)


def test_html_is_shown_as_text() -> None:
    assert render("a <b>bold</b> word") == "<p>a &lt;b&gt;bold&lt;/b&gt; word</p>\n"
    assert render("<div>\n\n*x*\n\n</div>").count("&lt;") == 2


def test_links_open_elsewhere_and_images_are_only_those_in_the_text() -> None:
    html = render(
        "[a](https://example.com/?a=1&b=2) ![pic](data:image/png;base64,iVBORw0KGgo=) ![far](https://x.test/y.png)"
    )
    [first, second] = re.findall(r"<a [^>]*>", html)
    for link in (first, second):
        assert 'rel="noopener noreferrer nofollow"' in link
        assert 'target="_blank"' in link
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="pic">' in html
    assert 'href="https://x.test/y.png"' in html
    assert html.count("<img") == 1


def test_code_has_colours_without_styles() -> None:
    html = render("```python\ndef f(): return 'x'\n```")
    assert '<span class="h-k">def</span>' in html
    assert "style" not in html
    assert "<pre" in render("```nolanguage\nx < y\n```")
    assert "x &lt; y" in render("```nolanguage\nx < y\n```")


def test_tables_lists_and_emphasis_are_what_they_are_in_markdown() -> None:
    html = render("| a | b |\n| --- | --: |\n| 1 | ~~2~~ |\n\n3. x\n4. y")
    assert '<th align="right">b</th>' in html
    assert "<s>2</s>" in html
    assert '<ol start="3">' in html


def test_a_very_long_text_is_shown_as_it_is() -> None:
    html = render("**x** <b>" * MOST)
    assert "**x** &lt;b&gt;" in html[:100]


TEXTS = [
    "One.\n\nTwo *lines*\nof it.\n\n- a\n- b\n\n  more of b\n- c\n\n```python\nx = 1\n\ny = 2\n```\n\nEnd.",
    "# Head\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n> quote\n> goes on\n\nlast",
    "a\r\n\r\nb\r\n\r\nc",
    "Title\n=====\n\ntext\n\n\n\n***\n\n1. x\n\n       code\n\n2. y",
    "x\u2028y\n\nz\x0bw\n\nend",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_growing_text_ends_as_the_whole_one_does(text: str, size: int) -> None:
    growing, whole, last = GrowingText(), "", ""
    for end in range(size, len(text) + size, size):
        growth = growing.grow(text[:end])
        whole, last = whole + growth.whole, growth.last
    assert re.sub(r"\s+", " ", whole + last) == re.sub(r"\s+", " ", render(text))
