"""`email.send`: sends a mail by the SMTP server of the installation."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.sending import storable, without
from flowyard.tools.services import MailService, ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

_SECONDS: Final = 10.0
"""For each answer of the server."""
_MOST_RECIPIENTS: Final = 20
_MOST_TEXT: Final = 100_000
_LONGEST: Final = 300
ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
"""As in HTML's input fields: without names, comments, and quotes."""
_RECIPIENT: Final = {"type": "string", "minLength": 3, "maxLength": 320}

FACTS: Final = ToolFacts(
    name="email.send",
    description="Sends an e-mail, from the address of the installation.",
    parameters={
        "type": "object",
        "properties": {
            "to": {
                "anyOf": [
                    _RECIPIENT,
                    {"type": "array", "items": _RECIPIENT, "minItems": 1, "maxItems": _MOST_RECIPIENTS},
                ],
                "description": "An address, or a list of them, without names.",
            },
            "subject": {"type": "string", "minLength": 1, "maxLength": 300},
            "text": {"type": "string", "minLength": 1, "maxLength": _MOST_TEXT},
        },
        "required": ["to", "subject", "text"],
        "additionalProperties": False,
    },
    effects=frozenset({"network"}),
    guarded="to",
    once=True,
)


def tool(services: ToolServices) -> Tool:
    return Tool(FACTS, partial(_run, services))


async def _run(services: ToolServices, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    mail = services.mail
    if mail is None or not mail.sender:
        raise ToolFailed("no mail server is set up: set FLOWYARD_SMTP_URL and FLOWYARD_SMTP_FROM")
    recipients = _recipients(arguments["to"], context)
    message = _message(mail, recipients, arguments, context)
    try:
        refused = await in_daemon_thread(lambda: _send(mail, message))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise ToolFailed(f"the mail wasn't sent: {without(_reason(error), *mail.secrets)}") from error
    return {"sent_to": [each for each in recipients if each not in refused], "refused": sorted(refused)}


def _recipients(given: Any, context: ToolContext) -> list[str]:
    recipients = list(dict.fromkeys(given if isinstance(given, list) else [given]))
    for each in recipients:
        if not ADDRESS.fullmatch(each):
            raise ToolFailed(f"{each[:_LONGEST]!r} is no address such as name@example.com")
        # A server doesn't mind case.
        if (why := context.why_denied(each.lower())) is not None:
            raise ToolFailed(f"not permitted: {why}")
    return recipients


def _message(
    mail: MailService, recipients: list[str], arguments: Mapping[str, Any], context: ToolContext
) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    subject = storable(arguments["subject"])
    if not subject.isprintable():
        raise ToolFailed("the subject must be one line")
    message["From"], message["To"], message["Subject"] = mail.sender, ", ".join(recipients), subject
    message["Date"] = format_datetime(context.now)
    # The same for the same call, so that copies can be recognised.
    message["Message-ID"] = f"<{sha256(context.key.encode()).hexdigest()[:40]}@{mail.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(storable(arguments["text"]))
    return message


def _send(mail: MailService, message: EmailMessage) -> Mapping[str, Any]:
    """The recipients that the server refused, if it took others."""
    certificates = mail.certificates or ssl.create_default_context()
    if mail.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=_SECONDS, context=certificates)
    else:
        server = smtplib.SMTP(mail.host, mail.port, timeout=_SECONDS)
    try:
        if mail.security == "starttls":
            server.starttls(context=certificates)
        if mail.user:
            server.login(mail.user, mail.password)
        refused = server.send_message(message)
        # The mail was taken, whatever happens to the farewell.
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
        return refused
    finally:
        server.close()


def _reason(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            code, text = next(iter(error.recipients.values()))
            reason = f"the server refused all recipients: {code} {_decoded(text)}"
        case smtplib.SMTPAuthenticationError():
            # What servers say here names the user.
            reason = f"the server refused the login: {error.smtp_code}"
        case smtplib.SMTPResponseException():
            reason = f"the server answered {error.smtp_code} {_decoded(error.smtp_error)}"
        case smtplib.SMTPNotSupportedError():
            reason = "the server has no STARTTLS, or no login"
        case ssl.SSLError():
            reason = "no trusted connection to the server: its certificate, or TLS, failed"
        case OSError():
            reason = f"can't reach the server: {error.strerror or type(error).__name__}"
        case _:
            reason = "the connection to the server was lost"
    return "".join(each if each.isprintable() else " " for each in reason)[:_LONGEST]


def _decoded(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text
