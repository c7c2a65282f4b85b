"""Errors of requests to addresses that others chose. They name hosts and addresses, never paths, headers or bodies."""

from __future__ import annotations

from typing import Final

from flowyard.errors.base import FlowyardError

ALLOW_SETTING: Final = "FLOWYARD_OUTBOUND_ALLOW"


class OutboundError(FlowyardError, code="outbound_failed", status=502, title="A request to another server failed"):
    """A request to an address that a document or a caller chose wasn't sent, or has no usable answer."""


class OutboundInvalid(OutboundError, code="outbound_invalid", status=422, title="A request can't be sent as it is"):
    """The URL, the method or a header can't be used. `fault`: without the URL, which may contain a secret."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"the request can't be sent: {fault}")


class AddressRefused(OutboundError, code="outbound_address_refused", status=422, title="An address may not be reached"):
    """The host has an address that isn't public, and no setting allows it. `kind`: such as "a private address"."""

    detail_fields = ("host", "address", "setting")
    setting = ALLOW_SETTING

    def __init__(self, *, host: str, address: str, kind: str) -> None:
        self.host = host
        self.address = address
        is_literal = host == address
        what = f"{host} is {kind}" if is_literal else f"{host} has the address {address}, which is {kind}"
        either = address if is_literal else f"{address} or {host}"
        super().__init__(f"{what}: requests to it are refused, unless {ALLOW_SETTING} lists {either}")


class RedirectRefused(OutboundError, code="outbound_redirect_refused", title="A redirect wasn't followed"):
    """The server redirects the request, and that isn't followed. `answered`: the status of its answer."""

    detail_fields = ("host", "answered")

    def __init__(self, *, host: str, answered: int, why: str) -> None:
        self.host = host
        self.answered = answered
        super().__init__(f"{host} answered {answered}, a redirect: {why}")


class HostUnreachable(OutboundError, code="outbound_unreachable", title="A server can't be reached"):
    """The name is unknown, or no connection could be made. Nothing of the request was sent."""

    detail_fields = ("host",)

    def __init__(self, *, host: str, why: str) -> None:
        self.host = host
        super().__init__(f"can't reach {host}: {why}")


class AnswerBroken(OutboundError, code="outbound_answer_broken", title="A server's answer can't be read"):
    """The connection was lost, or the answer is no HTTP. The server may have received the request."""

    detail_fields = ("host",)

    def __init__(self, *, host: str, why: str) -> None:
        self.host = host
        super().__init__(f"can't read the answer of {host}: {why}")


class AnswerTooLarge(OutboundError, code="outbound_answer_too_large", title="A server's answer is too large"):
    """The head or the decoded body of the answer is larger than the limit. The server has received the request."""

    detail_fields = ("host",)

    def __init__(self, *, host: str, why: str) -> None:
        self.host = host
        super().__init__(f"the answer of {host} is too large: {why}")


class OutboundTimeout(OutboundError, code="outbound_timeout", status=504, title="A server took too long"):
    """The whole request, with its redirects and to the last byte of the answer, took longer than its limit."""

    detail_fields = ("host",)

    def __init__(self, *, host: str, seconds: float) -> None:
        self.host = host
        super().__init__(f"{host} didn't answer completely within {seconds:g} s")
