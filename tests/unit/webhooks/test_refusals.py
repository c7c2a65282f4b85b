"""Who may have sent a webhook, whatever its scheme: headers, secrets and times."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowyard.errors.webhooks import UnusableWebhookSecret, Unverified
from flowyard.webhooks import standard
from flowyard.webhooks.discord import Discord
from flowyard.webhooks.generic import GenericBearer, GenericSigned
from flowyard.webhooks.github import GitHub
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.signing import SIGNERS
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.telegram import Telegram
from flowyard.webhooks.twilio import Twilio
from flowyard.webhooks.whatsapp import WhatsApp
from support.hooks import (
    ASYMMETRIC,
    ASYMMETRIC_PUBLIC,
    NOW,
    PARTIES,
    PUBLIC_KEY,
    SEED,
    SYMMETRIC,
    TIMED,
    Party,
    post,
    with_header,
    without,
)

UNSIGNED = {"idempotency-key", "x-github-delivery"}
"""Headers that say something, and prove nothing."""
EACH_PARTY = pytest.mark.parametrize("party", PARTIES.values(), ids=PARTIES.keys())


def reason(party: Party, request: HookRequest, age: timedelta = timedelta()) -> str:
    with pytest.raises(Unverified) as caught:
        party.scheme.verify(request, NOW + age)
    return caught.value.reason


def proofs(party: Party) -> list[tuple[str, str]]:
    return [(name, value) for name, value in party.signed(post()).headers[1:] if name not in UNSIGNED]


@EACH_PARTY
def test_a_signed_request_is_verified_and_none_of_another_sender(party: Party) -> None:
    request = party.signed(post())
    party.scheme.verify(request, NOW)
    with pytest.raises(Unverified, match=r"^the webhook isn't verified$") as caught:
        party.other.verify(request, NOW)
    assert caught.value.reason in ("wrong_signature", "wrong_token")


@EACH_PARTY
def test_names_of_headers_have_no_case(party: Party) -> None:
    request = party.signed(post())
    upper = tuple((name.upper(), value) for name, value in request.headers)
    party.scheme.verify(HookRequest(request.method, request.url, upper, request.body), NOW)


@EACH_PARTY
def test_a_header_that_proves_something_must_be_there_once(party: Party) -> None:
    request = party.signed(post())
    for name, value in proofs(party):
        assert reason(party, without(request, name)).startswith("missing_")
        assert reason(party, with_header(request, name, "")).startswith("missing_")
        assert reason(party, request.with_headers((name, value))) == "repeated_header"
        assert reason(party, request.with_headers((name.title(), "other"))) == "repeated_header"


@EACH_PARTY
@pytest.mark.parametrize(
    "value", ["x", "é", "\N{ARABIC-INDIC DIGIT ONE}", "\ud800", "\0", "=", ",", " ", "x" * 1_000_000], ids=ascii
)
def test_a_header_that_nobody_has_signed_is_refused(party: Party, value: str) -> None:
    for name, _ in proofs(party):
        assert reason(party, with_header(party.signed(post()), name, value)) not in ("too_old", "too_new")


@pytest.mark.parametrize("name", TIMED)
def test_a_signed_time_is_valid_for_five_minutes_before_and_after(name: str) -> None:
    party = PARTIES[name]
    request = party.signed(post())
    for age in (-300, 300):
        party.scheme.verify(request, NOW + timedelta(seconds=age))
    assert reason(party, request, timedelta(seconds=301)) == "too_old"
    assert reason(party, request, timedelta(seconds=-301)) == "too_new"


@pytest.mark.parametrize("name", TIMED)
def test_a_wrong_signature_is_reported_before_a_wrong_time(name: str) -> None:
    party = PARTIES[name]
    request = party.signed(post())
    changed = HookRequest(request.method, request.url, request.headers, b"{}")
    assert reason(party, changed, timedelta(days=1)) == "wrong_signature"


@pytest.mark.parametrize(
    ("scheme", "sender", "secrets"),
    [
        (GenericSigned(("new", "old")), "generic", ("new", "old")),
        (GenericBearer(("new", "old")), "bearer", ("new", "old")),
        (Standard((SYMMETRIC + "BBBB", SYMMETRIC)), "standard", (SYMMETRIC + "BBBB", SYMMETRIC)),
        (Standard((SYMMETRIC, ASYMMETRIC_PUBLIC)), "standard", (SYMMETRIC, ASYMMETRIC)),
        (GitHub(("new", "old")), "github", ("new", "old")),
        (Slack(("new", "old")), "slack", ("new", "old")),
        (Stripe(("new", "old")), "stripe", ("new", "old")),
        (Telegram(("new", "old")), "telegram", ("new", "old")),
        (WhatsApp(("new", "old"), ("token",)), "whatsapp", ("new", "old")),
        (Discord((SEED, PUBLIC_KEY)), "discord", (SEED,)),
        (Twilio(("new", "old")), "twilio", ("new", "old")),
    ],
)
def test_two_secrets_are_valid_at_the_same_time(scheme: Any, sender: Any, secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        scheme.verify(SIGNERS[sender](post(), secrets=(secret,), now=NOW, delivery_id="msg_1"), NOW)


@pytest.mark.parametrize(
    ("sender", "old", "new"),
    [
        ("standard", Standard((SYMMETRIC,)), Standard((ASYMMETRIC_PUBLIC,))),
        ("stripe", Stripe((SYMMETRIC,)), Stripe((ASYMMETRIC,))),
    ],
)
def test_who_signs_with_two_secrets_is_verified_by_each(sender: Any, old: Any, new: Any) -> None:
    request = SIGNERS[sender](post(), secrets=(SYMMETRIC, ASYMMETRIC), now=NOW, delivery_id="msg_1")
    old.verify(request, NOW)
    new.verify(request, NOW)


@pytest.mark.parametrize(
    "secret", [SYMMETRIC.removeprefix("whsec_"), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", SYMMETRIC + "Br"]
)
def test_a_standard_secret_needs_no_prefix_and_no_padding(secret: str) -> None:
    padded = secret + "=" * (-len(secret.removeprefix("whsec_")) % 4)
    request = SIGNERS["standard"](post(), secrets=(padded,), now=NOW, delivery_id="msg_1")
    Standard((secret,)).verify(request, NOW)


@pytest.mark.parametrize("name", ["webhook", "svix"])
def test_a_standard_message_may_have_headers_of_either_family_but_not_of_both(name: str) -> None:
    request = PARTIES["standard"].signed(post())
    headers = tuple((key.replace("webhook-", f"{name}-"), value) for key, value in request.headers)
    renamed = HookRequest(request.method, request.url, headers, request.body)
    PARTIES["standard"].scheme.verify(renamed, NOW)
    [delivery] = Standard((SYMMETRIC,)).read(renamed)
    assert delivery.id == "msg_1"
    mixed = with_header(without(renamed, f"{name}-signature"), "other-signature", "v1,x")
    assert reason(PARTIES["standard"], mixed) == "missing_signature"


@pytest.mark.parametrize(
    "make",
    [
        lambda: GenericSigned(()),
        lambda: GenericSigned(("s3cret", "")),
        lambda: GenericBearer(("",)),
        lambda: Standard(()),
        lambda: Standard(("",)),
        lambda: Standard(("whsec_",)),
        lambda: Standard(("whsec_s3cret!",)),
        lambda: Standard(("whsec_AAAA",)),
        lambda: GitHub(("\0",)),
        lambda: Standard(("whpk_czNjcmV0",)),
        lambda: Standard((ASYMMETRIC,)),
        lambda: GitHub(("",)),
        lambda: Slack(()),
        lambda: Stripe(("",)),
        lambda: Telegram(("",)),
        lambda: Telegram(("s3cret!",)),
        lambda: Telegram(("s" * 257,)),
        lambda: WhatsApp(("",), ("s3cret",)),
        lambda: WhatsApp(("s3cret",), ()),
        lambda: Discord(("s3cret",)),
        lambda: Discord((PUBLIC_KEY.upper(),)),
        lambda: Twilio(("",)),
        lambda: SIGNERS["discord"](post(), secrets=("s3cret",), now=NOW, delivery_id="1"),
        lambda: SIGNERS["standard"](post(), secrets=("whpk_s3cret",), now=NOW, delivery_id="1"),
        lambda: SIGNERS["standard"](post(), secrets=("whsk_czNjcmV0",), now=NOW, delivery_id="1"),
    ],
)
def test_a_secret_that_protects_nothing_or_cannot_be_right_is_refused_and_not_shown(make: Any) -> None:
    with pytest.raises(UnusableWebhookSecret, match=r"^the secret of the webhook should be ") as caught:
        make()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("delivery_id", ["", "msg.1", "msg 1", "m" * 257])
def test_no_id_is_signed_that_receivers_refuse(delivery_id: str) -> None:
    with pytest.raises(ValueError, match="the id of a webhook"):
        standard.sign(post(), secrets=(SYMMETRIC,), now=NOW, delivery_id=delivery_id)


@EACH_PARTY
def test_no_secret_is_shown(party: Party) -> None:
    assert party.secret not in repr(party.scheme)
