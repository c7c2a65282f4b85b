"""What tools that send requests have in common: the guarded client, and how its answers are read."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any, Final

from flowyard.exact_json import event_json
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolContext, ToolFailed

if TYPE_CHECKING:
    from flowyard.outbound.client import OutboundClient
    from flowyard.outbound.requests import OutboundAnswer, OutboundRequest

REDIRECTS: Final = 5
_SHOWN: Final = 500
"""Characters of an answer that failed."""
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_CHARSETS: Final = re.compile(
    r"utf-?8|utf-?16(le|be)?|us-ascii|iso-8859-\d{1,2}|windows-125\d|shift_jis|euc-(jp|kr)|gb(k|2312|18030)|big5|koi8-[ru]"
)
"""Those of the web. Python knows more, some of which take very long."""


def client_of(services: ToolServices) -> OutboundClient:
    """Raises ToolFailed."""
    if services.http is None:
        raise ToolFailed("no requests can be sent from here")
    return services.http


async def send(client: OutboundClient, request: OutboundRequest) -> OutboundAnswer:
    """Raises ToolFailed, with the host, and without anything that may be secret."""
    # Inline: who only checks documents needs no client.
    from flowyard.errors.outbound import OutboundError  # noqa: PLC0415

    try:
        return await client.send(request)
    except OutboundError as error:
        raise ToolFailed(str(error)) from error


def check_url(url: str, context: ToolContext) -> None:
    """Compares the URL in its normal form with the document's patterns: `/public/../admin` is `/admin`.

    Raises ToolFailed.
    """
    from flowyard.errors.outbound import OutboundError  # noqa: PLC0415
    from flowyard.outbound.urls import read_destination  # noqa: PLC0415

    try:
        normal = str(read_destination(url).url)
    except OutboundError as error:
        raise ToolFailed(str(error)) from error
    if (why := context.why_denied(normal)) is not None:
        raise ToolFailed(f"not permitted: {why}")


def media_type(answer: OutboundAnswer) -> str:
    """Such as `text/html`; empty if the server hasn't said it."""
    text: str = answer.headers.get("Content-Type", "")
    return text.partition(";")[0].strip().lower()


def charset_of(answer: OutboundAnswer) -> str | None:
    """What the server says, if it is one of the web's."""
    given = _CHARSET.search(answer.headers.get("Content-Type", ""))
    name = given[1].lower() if given else ""
    if not _CHARSETS.fullmatch(name):
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def text_of(answer: OutboundAnswer) -> str:
    """The body as a text that can be stored. Raises ToolFailed if it is none."""
    kind, charset = media_type(answer), charset_of(answer)
    is_text = kind.startswith("text/") or charset is not None
    try:
        text = answer.body.decode(charset or "utf-8-sig", "replace" if is_text else "strict")
    except UnicodeDecodeError as error:
        raise ToolFailed(f"the answer is no text, but {kind or 'something unknown'}") from error
    if "\0" in text and not is_text:
        raise ToolFailed(f"the answer is no text, but {kind or 'something unknown'}")
    return storable(text)


def content_of(answer: OutboundAnswer) -> Any:
    """JSON if the server says that it is, and it can be stored; else the text."""
    kind = media_type(answer)
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return event_json(answer.body) if answer.body.strip() else None
        except (ValueError, RecursionError):
            return text_of(answer)
    return text_of(answer)


def beginning_of(answer: OutboundAnswer) -> str:
    """For an error: why it has failed."""
    try:
        text = text_of(answer).strip()
    except ToolFailed:
        return ""
    return f": {text[:_SHOWN]}" if text else ""


def storable(text: str) -> str:
    """Without U+0000 and halves of surrogate pairs, which no database takes."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def without(text: str, *secrets: str) -> str:
    """The text without secrets that the other side may have repeated."""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text
