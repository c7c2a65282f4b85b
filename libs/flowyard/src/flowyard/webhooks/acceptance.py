"""What senders have to be answered when their webhook was accepted, if they don't take any 2xx.

Twilio: https://www.twilio.com/docs/messaging/twiml#receive-messages
Discord: https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object
"""

from __future__ import annotations

from typing import Any, Final

from flowyard.webhooks.request import NOTHING, Answer, json_answer
from flowyard.webhooks.senders import Sender

_MESSAGE: Final = 4
_DEFERRED: Final = 5
_ONLY_FOR_ITS_USER: Final = 64
_NOTHING: Final = "Nothing was started by this."


def acceptance(sender: Sender, payload: Any, *, has_started: bool = True) -> Answer | None:
    """None: anything with a status of success. `payload`: of the delivery.

    `has_started`: a run, or that this is a copy of what has started one.

    Slack would show a body to its user, Twilio reads one as instructions. Discord wants to know of an interaction that
    the response follows later; it takes an event of the application without a body.
    """
    match sender:
        case "slack":
            return Answer(200)
        case "twilio":
            return Answer(200, b"<Response/>", "text/xml")
        case "discord" if isinstance(payload, dict) and "event" in payload:
            return NOTHING
        case "discord" if not has_started:
            return json_answer({"type": _MESSAGE, "data": {"content": _NOTHING, "flags": _ONLY_FOR_ITS_USER}})
        case "discord":
            return json_answer({"type": _DEFERRED})
        case _:
            return None
