"""What is sent and what comes back, and how a request goes on after a redirect. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from yarl import URL

from flowyard.errors.outbound import OutboundInvalid, RedirectRefused
from flowyard.outbound.urls import Destination, check_characters, read_destination

_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_FRAMING: Final = frozenset({"content-length", "te", "trailer", "transfer-encoding"})
_OURS: Final = _FRAMING | {"accept-encoding", "connection", "expect", "host", "keep-alive", "upgrade"}
"""Headers that the connection decides on."""
_HARMLESS: Final = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers that may go to another origin than the caller's. In any other there may be a secret."""
_OF_BODIES: Final = frozenset({"content-encoding", "content-language", "content-type"})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundRequest:
    """`redirects`: how many may be followed. `total_s`: for all of it, to the last byte of the answer.

    `why_refused`: says of the address of a redirect why it isn't followed; None: it may be.
    `answer_limit`: most bytes of the decoded body. `cut`: keeps the beginning of a larger body, instead of an error.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    redirects: int = 0
    why_refused: Callable[[str], str | None] = field(default=lambda _url: None, repr=False)
    total_s: float = 30.0
    answer_limit: int = 1_000_000
    cut: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundAnswer:
    """`headers`: of several with the same name, the first; read without regard to case. `is_cut`: the body was larger.

    `url`: where it came from, which is another than the request's after redirects.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_cut: bool
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutboundHead:
    """What an answer begins with. `headers`: as those of OutboundAnswer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)


def check_request(request: OutboundRequest) -> None:
    """Raises OutboundInvalid, without any value."""
    if request.method not in _METHODS:
        raise OutboundInvalid(f"its method must be one of {', '.join(sorted(_METHODS))}")
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name):
            raise OutboundInvalid("the name of one of its headers has characters that aren't allowed")
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise OutboundInvalid(f"its header {name} can't be chosen")
        if _NOT_IN_A_VALUE.search(value):
            raise OutboundInvalid(f"its header {name} contains a line break or another character that can't be sent")


def is_redirect(status: int, headers: Mapping[str, str]) -> bool:
    return status in _REDIRECTS and "Location" in headers


def after_redirect(
    request: OutboundRequest, target: Destination, answered: int, location: str
) -> tuple[OutboundRequest, Destination]:
    """The request that follows. Its address is still to be checked. Raises RedirectRefused.

    Another origin gets none of the headers that may have a secret, and no body.
    """
    if request.redirects < 1:
        raise RedirectRefused(host=target.host, answered=answered, why="it isn't followed")
    try:
        # Clients disagree about a backslash, and the URL's parser encodes it.
        check_characters(location)
        following = read_destination(str(target.url.join(URL(location))))
    except (OutboundInvalid, ValueError) as error:
        raise RedirectRefused(host=target.host, answered=answered, why="its address can't be used") from error
    if (why := request.why_refused(str(following.url))) is not None:
        raise RedirectRefused(host=target.host, answered=answered, why=why)
    is_same = following.url.origin() == target.url.origin()
    becomes_get = (answered == 303 and request.method != "HEAD") or (answered < 303 and request.method == "POST")
    method, body = ("GET", None) if becomes_get else (request.method, request.body)
    if body and not is_same:
        why = f"the body isn't sent to another origin, {following.host}"
        raise RedirectRefused(host=target.host, answered=answered, why=why)
    headers = {
        name: value
        for name, value in request.headers.items()
        if (is_same or name.lower() in _HARMLESS) and not (body is None and name.lower() in _OF_BODIES)
    }
    url = str(following.url)
    return (
        replace(request, method=method, url=url, body=body, headers=headers, redirects=request.redirects - 1),
        following,
    )
