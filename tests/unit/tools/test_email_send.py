"""`email.send`, by a real server on loopback: what it gets, what can't be put into a mail, and what nobody learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowyard.service.reaching_settings import read_smtp
from flowyard.tools.services import MailSecurity, MailService, ToolServices
from flowyard.tools.tool import ToolResult
from support.outside import trusting
from support.reaching import called
from support.smtp_server import MailServer, mail_server

PASSWORD = "password-that-nobody-may-see"
USER = "user-that-nobody-may-see"


def mail_of(server: MailServer, security: MailSecurity = "none", host: str = "127.0.0.1") -> MailService:
    return MailService(
        host=host, port=server.port, security=security, sender="flows@example.com", user=USER, password=PASSWORD
    )


async def sent(
    mail: MailService, *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), **given: Any
) -> ToolResult:
    arguments = {"to": "ada@example.com", "subject": "Rain", "text": "It rains.", **given}
    return await called("email.send", arguments, allow=allow, deny=deny, services=ToolServices(mail=mail))


async def test_a_mail_is_sent_to_all_recipients_from_the_address_of_the_installation() -> None:
    async with mail_server() as server:
        text = "Für Ada:\n.\nQUIT\n..end"
        result = await sent(mail_of(server), to=["ada@example.com", "bob@example.org"], subject="Für dich", text=text)
    assert result.value == {"sent_to": ["ada@example.com", "bob@example.org"], "refused": []}
    [mail] = server.mails
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "flows@example.com", "ada@example.com, bob@example.org", "Für dich",
    )  # fmt: skip
    assert mail.get_content().replace("\r\n", "\n") == f"{text}\n"
    assert mail["Message-ID"].endswith("@example.com>")
    assert server.logins == [f"\0{USER}\0{PASSWORD}"]


async def test_some_recipients_may_be_refused() -> None:
    async with mail_server(refused={"rcpt TO:<eve@": "550 no Eve here"}) as server:
        some = await sent(mail_of(server), to=["ada@example.com", "eve@example.com"])
        none = await sent(mail_of(server), to="eve@example.com")
    assert some.value == {"sent_to": ["ada@example.com"], "refused": ["eve@example.com"]}
    assert none.error == "the mail wasn't sent: the server refused all recipients: 550 no Eve here"
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "Rain\r\nBcc: eve@example.com"},
        {"subject": "Rain\nBcc: eve@example.com"},
        {"subject": "Rain\u2028Bcc: eve@example.com"},
        {"to": "ada@example.com\r\nRCPT TO:<eve@example.com>"},
        {"to": "ada@example.com\n"},
        {"to": "ada@example.com, eve@example.com"},
        {"to": "Ada <ada@example.com>"},
        {"to": '"eve@example.com"@example.com'},
        {"to": "eve@example.net@example.com"},
        {"to": ["ada@example.com", "eve@example.com> SIZE=1"]},
        {"to": "ada"},
    ],
)
async def test_nothing_can_be_put_into_headers_and_commands(given: Any) -> None:
    async with mail_server() as server:
        result = await sent(mail_of(server), allow=("*@example.com*", "Ada*", "ada*"), **given)
    assert (result.outcome, server.commands) == ("failed", [])


async def test_each_recipient_has_to_be_permitted_whatever_its_case() -> None:
    async with mail_server() as server:
        mail = mail_of(server)
        results = [
            await sent(mail, allow=("*@example.com",), to=["ada@example.com", "eve@example.net"]),
            await sent(mail, deny=("*@example.net",), to=["ada@example.com", "eve@EXAMPLE.net"]),
            await sent(mail, allow=("*@example.com",), to=["ada@example.com", "bob@example.com"]),
        ]
    assert [result.outcome for result in results] == ["denied", "failed", "ok"]
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"AUTH": f"535 no {USER} with {PASSWORD}"}, "the server refused the login: 535"),
        ({"mail FROM": f"550 {PASSWORD} by {USER}\x07"}, "the server answered 550 *** by *** "),
        ({"ehlo": "500 no", "helo": "500 no"}, "the server answered 500 no"),
    ],
)
async def test_failures_name_no_password_although_the_server_repeats_it(refused: dict[str, str], reason: str) -> None:
    async with mail_server(refused=refused) as server:
        result = await sent(mail_of(server))
    assert result.error == f"the mail wasn't sent: {reason}"
    assert PASSWORD not in repr(mail_of(server))


async def test_no_password_is_sent_in_the_open_unless_the_setting_says_so() -> None:
    async with mail_server() as server:
        result = await sent(mail_of(server, "starttls"))
    assert (result.outcome, server.logins) == ("failed", [])


async def test_a_server_with_tls_has_to_be_trusted() -> None:
    async with mail_server(tls=True) as server:
        mail = mail_of(server, "tls", "localhost")
        untrusted = await sent(mail)
        # The certificate is that of another name.
        misnamed = await sent(replace(mail, certificates=trusting()))
        context = trusting()
        context.check_hostname = False
        trusted = await sent(replace(mail, certificates=context))
    assert [untrusted.outcome, misnamed.outcome, trusted.outcome] == ["failed", "failed", "ok"]
    assert len(server.logins) == 1


async def test_what_is_not_set_up_is_named_and_a_server_that_is_away_is_a_failure() -> None:
    missing = await called("email.send", {"to": "ada@example.com", "subject": "Rain", "text": "It rains."})
    async with mail_server() as server:
        mail = mail_of(server)
    away = await sent(mail)
    assert missing.error is not None
    assert "FLOWYARD_SMTP_URL" in missing.error
    assert away.error == "the mail wasn't sent: can't reach the server: Connection refused"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://u%40x:p%2F@mail.example.com", ("mail.example.com", 587, "starttls", "u@x", "p/")),
        ("smtps://mail.example.com", ("mail.example.com", 465, "tls", "", "")),
        ("smtp://127.0.0.1:25?tls=none", ("127.0.0.1", 25, "none", "", "")),
    ],
)
def test_the_address_of_a_server(url: str, expected: tuple[object, ...]) -> None:
    mail = read_smtp(url, "flows@example.com")
    assert mail is not None
    assert (mail.host, mail.port, mail.security, mail.user, mail.password) == expected


@pytest.mark.parametrize(
    "url", ["http://u:hidden@x", "smtp://", "smtps://u:hidden@x?tls=none", "smtp://u:hidden@x:y", "smtp://x?tls=hidden"]
)
def test_a_wrong_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"smtp|address") as error:
        read_smtp(url, "")
    assert "hidden" not in str(error.value)
