"""What came of a try to send a notification."""

from __future__ import annotations

from dataclasses import dataclass

from flowyard.errors.outbound import AddressRefused, HostUnreachable, OutboundError, OutboundTimeout, RedirectRefused


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """`failure`: None if it was accepted. `reason`: for metrics. `retry_after_s`: what the receiver demands.

    `is_final`: to send it again would change nothing.
    """

    status: int | None = None
    failure: str | None = None
    reason: str = ""
    retry_after_s: float | None = None
    is_final: bool = False


def unanswered(error: OutboundError) -> SendOutcome:
    answered = error.answered if isinstance(error, RedirectRefused) else None
    return SendOutcome(answered, error.message, _reason(error))


def _reason(error: OutboundError) -> str:
    match error:
        case AddressRefused():
            return "address_refused"
        case HostUnreachable():
            return "unreachable"
        case OutboundTimeout():
            return "timeout"
        case RedirectRefused():
            return "redirect"
        case _:
            return "broken"
