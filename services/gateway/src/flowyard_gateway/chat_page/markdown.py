"""Markdown of models as HTML that can do nothing: no HTML of theirs, no scripts, nothing loaded from elsewhere.

Two barriers, of which each is enough: markdown-it escapes all HTML, and ammonia (nh3) lets only known elements pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import thread_time
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MOST: Final = 100_000
"""Characters of a text that are rendered. A longer one is shown as it is."""
_MOST_HIGHLIGHTED: Final = 8_000
"""Characters of a block of code. Some lexers need time by the square of it."""
_COLOURING_S: Final = 0.3
"""CPU time after which the rest of a text gets no colours."""
_PREFIX: Final = "h-"
_CLASSES: Final = re.compile(rf"{_PREFIX}[a-z0-9]{{1,3}}|code-name|table-box")
_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*", re.IGNORECASE)
_TAGS: Final = frozenset({
    "a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol",
    "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
})  # fmt: skip
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "a": {"href", "title"},
    "div": {"class", "tabindex"},
    "pre": {"tabindex"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    "span": {"class"},
    "th": {"align"},
    "td": {"align"},
}
_FORMATTER: Final = HtmlFormatter(nowrap=True, classprefix=_PREFIX)


def render(text: str) -> Markup:
    """The HTML of a text. Code has classes for colours, and links open elsewhere."""
    if len(text) > MOST:
        return Markup('<div class="as-is">{}</div>').format(text)
    return _cleaned(_MARKDOWN.render(text))


def block_starts(text: str) -> list[int]:
    """The lines where the blocks of a text begin: paragraphs, lists, tables, code."""
    blocks = _MARKDOWN.parse(text)
    return [token.map[0] for token in blocks if token.level == 0 and token.map is not None and token.nesting >= 0]


def _cleaned(html: str) -> Markup:
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto", "data"},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - sanitised


def _attribute(tag: str, name: str, value: str) -> str | None:
    """The attribute's value; None: it is left out."""
    match tag, name:
        case "img", "src":
            return value if _IMAGE.fullmatch(value) else None
        case "a", "href":
            return None if value.lower().startswith("data:") else value
        case _, "tabindex":
            return value if value == "0" else None
        case _, "class":
            return value if _CLASSES.fullmatch(value) else None
        case _:
            return value


class _Renderer(RendererHTML):
    """Images that aren't in the text become links: nothing is loaded from elsewhere."""

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        source = str(token.attrs.get("src", ""))
        text = self.renderInlineAsText(token.children or [], options, env)
        if _IMAGE.fullmatch(source):
            return f'<img src="{escapeHtml(source)}" alt="{escapeHtml(text)}">'
        return f'<a href="{escapeHtml(source)}">{escapeHtml(text or source)}</a>'

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        language = tokens[idx].info.strip().partition(" ")[0][:30]
        name = f'<div class="code-name">{escapeHtml(language)}</div>' if language else ""
        return f'{name}<pre tabindex="0"><code>{_highlighted(tokens[idx].content, language, env)}</code></pre>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="table-box" tabindex="0"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<pre tabindex="0"><code>{escapeHtml(tokens[idx].content)}</code></pre>\n'

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"<th{_aligned(tokens[idx])}>"

    def td_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"<td{_aligned(tokens[idx])}>"


def _aligned(token: Token) -> str:
    """No style, which the page's policy forbids."""
    alignment = re.fullmatch(r"text-align:(left|right|center)", str(token.attrs.get("style", "")))
    return f' align="{alignment[1]}"' if alignment else ""


def _highlighted(code: str, language: str, env: dict[str, float]) -> str:
    """`env`: of the text that is rendered; it has the CPU time that its colours have taken."""
    if not language or len(code) > _MOST_HIGHLIGHTED or env.get("coloured_s", 0.0) > _COLOURING_S:
        return escapeHtml(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escapeHtml(code)
    began = thread_time()
    coloured = str(highlight(code, lexer, _FORMATTER))
    env["coloured_s"] = env.get("coloured_s", 0.0) + thread_time() - began
    return coloured


_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
