"""The libraries of the senders themselves sign, and we verify; we sign, and they verify."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from stripe import SignatureVerificationError, WebhookSignature
from twilio.request_validator import RequestValidator

from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.senders import Sender
from flowyard.webhooks.signing import SIGNERS
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.twilio import Twilio
from support.hooks import FORM, NOW, SYMMETRIC, URL, post
from support.lazily import lazily

if TYPE_CHECKING:
    import openai
    import svix.webhooks
else:
    openai = lazily("openai")
    svix = lazily("svix")

# These libraries take bodies as texts.
BODIES: Final = st.text(st.characters(codec="utf-8"))
SECRETS: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
SOME: Final = settings(max_examples=50)


def ours(sender: Sender, body: str, *, secret: str = SYMMETRIC, now: datetime = NOW) -> dict[str, str]:
    """What we send with this body."""
    return dict(SIGNERS[sender](post(body.encode()), secrets=(secret,), now=now, delivery_id="msg_1").headers)


class ClockOfTests(Clock):
    def now(self) -> float:
        return NOW.timestamp()


@SOME
@given(body=BODIES, secret=SECRETS)
def test_slack(body: str, secret: str) -> None:
    theirs = SignatureVerifier(secret, clock=ClockOfTests())
    signature = theirs.generate_signature(timestamp="1700000000", body=body)
    assert signature is not None
    headers = ("X-Slack-Request-Timestamp", "1700000000"), ("X-Slack-Signature", signature)
    Slack((secret,)).verify(post(body.encode(), *headers), NOW)
    assert theirs.is_valid_request(body, ours("slack", body, secret=secret))
    assert not theirs.is_valid_request(body + " ", ours("slack", body, secret=secret))


@SOME
@given(body=BODIES, secret=SECRETS)
def test_stripe(body: str, secret: str) -> None:
    header = WebhookSignature.generate_signature_header(body, secret, timestamp=1_700_000_000)
    Stripe((secret,)).verify(post(body.encode(), ("Stripe-Signature", header)), NOW)
    signed = ours("stripe", body, secret=secret)["stripe-signature"]
    assert WebhookSignature.verify_header(body, signed, secret)
    with pytest.raises(SignatureVerificationError):
        WebhookSignature.verify_header(body + " ", signed, secret)


class Fields(dict[str, str]):
    """A form as the library of Twilio takes it from web frameworks."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__(fields)
        self.fields = fields

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


@SOME
@given(
    fields=st.lists(st.tuples(st.sampled_from(["Body", "body", "From", "Zip Code"]), BODIES), max_size=6),
    url=st.sampled_from([URL, f"{URL}?a=1&a=%C3%A4", "http://[::1]:8400/hooks/x", "https://flowyard.example:8443/"]),
    secret=SECRETS,
    algorithm=st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]),
)
def test_twilio(fields: list[tuple[str, str]], url: str, secret: str, algorithm: str) -> None:
    stored = [(name, value.replace("\0", "")) for name, value in fields]
    theirs = RequestValidator(secret)
    signature = theirs.compute_signature(url, Fields(stored), algorithm)
    request = post(urlencode(stored).encode(), ("X-Twilio-Signature", signature), url=url, kind=FORM)
    Twilio((secret,)).verify(request, NOW)
    unsigned = post(urlencode(stored).encode(), url=url, kind=FORM)
    signed = SIGNERS["twilio"](unsigned, secrets=(secret,), now=NOW, delivery_id="1")
    assert theirs.validate(url, Fields(stored), signed.headers[-1][1])
    assert not theirs.validate(url, Fields([*stored, ("To", "1")]), signed.headers[-1][1])


@pytest.mark.parametrize("host", ["flowyard.example", "flowyard.example:443", "flowyard.example:8443"])
def test_twilio_and_the_ports_that_it_leaves_out(host: str) -> None:
    theirs = RequestValidator("s3cret")
    for signed_host in (host, host.partition(":")[0]):
        signature = theirs.compute_signature(f"https://{signed_host}/x", {})
        Twilio(("s3cret",)).verify(post(b"", ("X-Twilio-Signature", signature), url=f"https://{host}/x"), NOW)
        assert theirs.validate(f"https://{host}/x", {}, signature)


@SOME
@given(body=BODIES.filter(bool))
def test_twilio_with_a_body_that_is_no_form(body: str) -> None:
    theirs = RequestValidator("s3cret")
    digest = hashlib.sha256(body.encode()).hexdigest()
    for url in (f"{URL}?bodySHA256={digest}", f"{URL}?a=1&bodySHA256={digest}"):
        unsigned = post(body.encode(), ("X-Twilio-Signature", theirs.compute_signature(url, {})), url=url)
        Twilio(("s3cret",)).verify(unsigned, NOW)
        signed = SIGNERS["twilio"](
            post(body.encode(), url=url[: url.index("bodySHA256") - 1]), secrets=("s3cret",), now=NOW, delivery_id="1"
        )
        assert signed.url == url
        assert theirs.validate(signed.url, body, signed.headers[-1][1])
        assert not theirs.validate(signed.url, body + " ", signed.headers[-1][1])


STANDARD: Final[dict[str, Callable[[str], Any]]] = {"webhook": standardwebhooks.Webhook, "svix": svix.webhooks.Webhook}


@SOME
@given(body=BODIES, key=st.binary(min_size=1, max_size=64).filter(any))
@pytest.mark.parametrize("family", STANDARD)
def test_standard_webhooks(family: str, body: str, key: bytes) -> None:
    secret = standard_secret(key)
    signature = STANDARD[family](secret).sign("msg_1", NOW, body)
    headers = ("Id", "msg_1"), ("Timestamp", "1700000000"), ("Signature", signature)
    request = post(body.encode(), *((f"{family.title()}-{name}", value) for name, value in headers))
    Standard((secret,)).verify(request, NOW)
    assert ours("standard", body, secret=secret)["webhook-signature"] == signature


@SOME
@given(
    secret=st.text(st.sampled_from("ABXYZabxyz0189+/"), min_size=2, max_size=90).filter(
        lambda text: len(text) % 4 != 1 and any(base64.b64decode(text + "=="))
    )
)
def test_a_standard_secret_is_decoded_as_others_do(secret: str) -> None:
    signature = standardwebhooks.Webhook(secret).sign("msg_1", NOW, "{}")
    assert ours("standard", "{}", secret=secret)["webhook-signature"] == signature


@pytest.mark.parametrize("body", ["{}", '{"text": "ä\\n😀"}', "[" + "1," * 50_000 + "1]"])
def test_receivers_of_standard_webhooks_take_what_we_sign_now(body: str) -> None:
    receivers: list[Callable[[str, dict[str, str]], Any]] = [
        standardwebhooks.Webhook(SYMMETRIC).verify,
        svix.webhooks.Webhook(SYMMETRIC).verify,
        openai.OpenAI(api_key="x", webhook_secret=SYMMETRIC).webhooks.verify_signature,
    ]
    headers = ours("standard", body, now=datetime.now(UTC))
    for receive in receivers:
        receive(body, headers)
        with pytest.raises((standardwebhooks.WebhookVerificationError, openai.InvalidWebhookSignatureError)):
            receive(body + " ", headers)


def test_what_others_sign_by_another_secret_is_refused() -> None:
    signature = standardwebhooks.Webhook("whsec_b3RoZXI=").sign("msg_1", NOW, "{}")
    headers = ("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", signature)
    with pytest.raises(Unverified):
        Standard((SYMMETRIC,)).verify(HookRequest("POST", URL, headers, b"{}"), NOW)


def standard_secret(key: bytes) -> str:
    return f"whsec_{base64.b64encode(key).decode()}"
