"""Reads the text of a page of HTML: a program of its own, which `web.fetch` starts for each page.

Pages are anybody's. A parser that one of them keeps busy, or that one breaks, ends with this process. It has bounds for
its time and its memory, no environment, and nothing to write to but its output. No script of a page is executed.

It reads a line of JSON (`charset`, or null, and `links`) and then the page. It writes JSON: `title` and `text`.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any, Final

_CPU_S: Final = 6
_MEMORY: Final = 1_500_000_000
_FEW: Final = 50
"""Characters: if there is less, the page isn't made as most are, and all of it is read."""
_AROUND: Final = [
    "nav", "footer", "aside", "form", "dialog", "iframe", "svg", "body > header", "[hidden]", "[aria-hidden=true]",
    "[role=navigation]", "[role=banner]", "[role=contentinfo]", "[role=search]", "[role=dialog]",
]  # fmt: skip
"""What is around the text of a page."""


def read_page(page: bytes, charset: str | None, *, links: bool) -> dict[str, str]:
    """The title, and the text in paragraphs and lists."""
    # Inline: the limits are set before foreign code is loaded.
    from resiliparse.extract.html2text import extract_plain_text  # noqa: PLC0415
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding  # noqa: PLC0415
    from resiliparse.parse.html import HTMLTree  # noqa: PLC0415

    html = bytes_to_str(page, charset or detect_encoding(page, from_html_meta=True) or "utf-8")
    tree = HTMLTree.parse(html)
    bodies = tree.body.query_selector_all("main, [role=main]") if tree.body is not None else []
    part: Any = bodies[0].html if len(bodies) == 1 else tree
    text = extract_plain_text(part, skip_elements=_AROUND, links=links, alt_texts=False)
    if len(text) < _FEW:
        text = max(text, extract_plain_text(tree, links=links, alt_texts=False), key=len)
    return {"title": " ".join((tree.title or "").split()), "text": text.strip()}


def main() -> None:
    for kind, most in ((resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = json.loads(sys.stdin.buffer.readline())
    result = read_page(sys.stdin.buffer.read(), given["charset"], links=given["links"])
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
