"""What others have signed, byte for byte: examples of the documentation and of the test suites of each sender."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.discord import Discord
from flowyard.webhooks.github import GitHub
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.schemes import Scheme
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.twilio import Twilio
from flowyard.webhooks.whatsapp import WhatsApp
from support.hooks import ASYMMETRIC_PUBLIC, FORM, NOW, PUBLIC_KEY, SYMMETRIC, post, with_header

MESSAGE_TIME = 1_614_265_330
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw=="
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FIELDS = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


def standard_message(signature: str, *, timestamp: str = str(MESSAGE_TIME)) -> HookRequest:
    return post(
        b'{"test": 2432232314}',
        ("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("Webhook-Timestamp", timestamp),
        ("Webhook-Signature", signature),
    )


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def reason(scheme: Scheme, request: HookRequest, now: datetime = NOW) -> str:
    with pytest.raises(Unverified) as caught:
        scheme.verify(request, now)
    return caught.value.reason


@pytest.mark.parametrize(
    "signature", [V1, f"v1,{'A' * 43}= v2,{V1[3:]} {V1} v1,{'B' * 43}=", f"{V1A} {V1}", f"v1, {V1}"]
)
def test_a_standard_message_is_verified_by_any_of_its_signatures(signature: str) -> None:
    Standard((SYMMETRIC,)).verify(standard_message(signature), at(MESSAGE_TIME))


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (V1.replace("J1OE=", "J1OA="), "wrong_signature"),
        ("v1,", "wrong_signature"),
        (V1.replace("v1", "v2"), "unsupported_signature"),
        (V1A, "wrong_signature"),
        (V1[3:], "malformed_signature"),
        (" ".join([V1] * 11), "malformed_signature"),
        (" ".join([V1, *[V1A] * 5]), "malformed_signature"),
    ],
)
def test_a_standard_message_without_a_signature_of_its_secret_is_refused(signature: str, expected: str) -> None:
    assert reason(Standard((SYMMETRIC,)), standard_message(signature), at(MESSAGE_TIME)) == expected


def test_a_standard_message_is_verified_by_a_public_key() -> None:
    Standard((ASYMMETRIC_PUBLIC,)).verify(standard_message(V1A), at(MESSAGE_TIME))
    assert reason(Standard((ASYMMETRIC_PUBLIC,)), standard_message(V1), at(MESSAGE_TIME)) == "wrong_signature"
    # The same bytes, with bits in the last digit that mean nothing.
    other_spelling = standard_message(V1A.replace("VAw==", "VAx=="))
    assert reason(Standard((ASYMMETRIC_PUBLIC,)), other_spelling, at(MESSAGE_TIME)) == "wrong_signature"


@pytest.mark.parametrize(("sign", "expected"), [(-1, "too_new"), (1, "too_old")])
def test_a_standard_message_is_valid_for_five_minutes(sign: int, expected: str) -> None:
    scheme = Standard((SYMMETRIC,))
    scheme.verify(standard_message(V1), at(MESSAGE_TIME + sign * 300))
    assert reason(scheme, standard_message(V1), at(MESSAGE_TIME + sign * 301)) == expected


@pytest.mark.parametrize("timestamp", ["hello", "1e9", "-1", "1614265330.0", "١٦١٤٢٦٥٣٣٠", "9" * 5000])
def test_a_time_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    assert reason(Standard((SYMMETRIC,)), standard_message(V1, timestamp=timestamp)) == "malformed_timestamp"


def test_a_standard_message_has_all_three_headers() -> None:
    for name in ("Id", "Timestamp", "Signature"):
        request = with_header(standard_message(V1), f"Webhook-{name}", "")
        assert reason(Standard((SYMMETRIC,)), request, at(MESSAGE_TIME)) == f"missing_{name.lower()}"


def test_an_id_with_a_full_stop_is_refused() -> None:
    # Else `msg.1` at the time 2 would be signed as `msg` is at the time 1, with a body that begins with `2.`.
    request = with_header(standard_message(V1), "Webhook-Id", "msg.1614265330")
    assert reason(Standard((SYMMETRIC,)), request, at(MESSAGE_TIME)) == "malformed_id"


@pytest.mark.parametrize(
    ("secret", "body", "signature"),
    [
        (
            "It's a Secret to Everybody",
            "Hello, World!",
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ),
        ("mysecret", '{\n  "foo": "bar"\n}\n', "e3eccac34c43c7dc1cbb905488b1b81347fcc700a7b025697a9d07862256023f"),
        (
            "development",
            '{\n  "foo": "Foo\\n\\u001B[34mbar: ♥♥♥♥♥♥♥♥\\nthis-is-lost\\u001B[0m\\u001B[2K"\n}\n',
            "9dacf9003316b09be07df56d86a2d0d6872e42a1e6c72c3bad9ff915a7c5603e",
        ),
        (
            "development",
            '{\n  "foo": "\\\\u001b"\n}\n',
            "87316067e2011fae39998b18c46a14d83b3e7c3ffdd88fb2ee5afb7d11288e60",
        ),
    ],
)
def test_github_has_signed_these(secret: str, body: str, signature: str) -> None:
    request = post(body.encode(), ("X-Hub-Signature-256", f"sha256={signature}"))
    GitHub((secret,)).verify(request, NOW)
    assert reason(GitHub((secret,)), post(body.encode() + b"\n", *request.headers[1:])) == "wrong_signature"


def test_the_signature_of_github_by_sha1_is_ignored() -> None:
    assert reason(GitHub(("mysecret",)), post(b"{}", ("X-Hub-Signature", "sha1=0"))) == "missing_signature"


def test_slack_has_signed_this() -> None:
    request = post(
        SLACK_BODY,
        ("X-Slack-Request-Timestamp", "1531420618"),
        ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        kind=FORM,
    )
    scheme = Slack(("8f742231b10e8888abcd99yyyzzz85a5",))
    scheme.verify(request, at(1_531_420_618))
    assert reason(scheme, with_header(request, "X-Slack-Request-Timestamp", "1531420619")) == "wrong_signature"
    assert reason(scheme, request) == "too_old"


STRIPE = "0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd"


@pytest.mark.parametrize(
    "header", [f"t=1700000000,v1={STRIPE}", f"t=1700000000,v1={'0' * 64},v1={STRIPE},v0={'1' * 64}"]
)
def test_stripe_has_signed_this(header: str) -> None:
    Stripe(("whsec_test_secret",)).verify(post(b'{"id":"evt_1","object":"event"}', ("Stripe-Signature", header)), NOW)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"t=1700000000,v0={STRIPE}", "unsupported_signature"),
        (f"v1={STRIPE}", "missing_timestamp"),
        (f"t=1700000000,t=1700000001,v1={STRIPE}", "malformed_timestamp"),
        (f"t=1700000000,v1={STRIPE.upper()}", "malformed_signature"),
        ("i'm not even a real signature header", "missing_timestamp"),
        (f"t=1700000001,v1={STRIPE}", "wrong_signature"),
    ],
)
def test_a_header_that_stripe_has_not_written_is_refused(header: str, expected: str) -> None:
    request = post(b'{"id":"evt_1","object":"event"}', ("Stripe-Signature", header))
    assert reason(Stripe(("whsec_test_secret",)), request) == expected


def test_an_interaction_of_discord_is_verified_by_the_key_of_the_application() -> None:
    first, second = (
        "1695961a47c91a1ec033b819b7e87e3dbc583dd0cee6d1fd0216f58ac87b6228",
        "ae531ddbf91fb7bc28d7edf7f08604da16f54624f38a6bc0614e4dc13cd47f0f",
    )
    headers = ("X-Signature-Timestamp", "1700000000"), ("X-Signature-Ed25519", first + second)
    request, scheme = post(b'{"type":1}', *headers), Discord((PUBLIC_KEY,))
    scheme.verify(request, NOW)
    assert reason(scheme, with_header(request, "X-Signature-Ed25519", "0" * 128)) == "wrong_signature"
    assert reason(scheme, with_header(request, "X-Signature-Ed25519", "0" * 127)) == "malformed_signature"


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (TWILIO_URL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL.replace(".com", ".com:443"), "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (TWILIO_URL.replace("https", "http").replace(".com", ".com:80"), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (TWILIO_URL.replace("https", "http").replace(".com", ".com:1234"), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    ],
)
def test_twilio_has_signed_these(url: str, signature: str) -> None:
    def request(url: str) -> HookRequest:
        return post(urlencode(TWILIO_FIELDS).encode(), ("X-Twilio-Signature", signature), url=url, kind=FORM)

    Twilio(("12345",)).verify(request(url), NOW)
    assert reason(Twilio(("12345",)), request(url.replace("foo=1", "foo=2"))) == "wrong_signature"
    if ":443" in url or ":80/" in url:
        Twilio(("12345",)).verify(request(url.replace(":443", "").replace(":80/", "/")), NOW)


def test_the_port_that_twilio_has_left_out_is_no_reason_to_refuse() -> None:
    request = post(
        urlencode(TWILIO_FIELDS).encode(),
        ("X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        url=TWILIO_URL.replace(".com", ".com:443"),
        kind=FORM,
    )
    Twilio(("12345",)).verify(request, NOW)


def test_twilio_signs_each_value_of_a_repeated_field_once() -> None:
    signature = ("X-Twilio-Signature", "IK+Dwps556ElfBT0I3Rgjkr1wJU=")
    body = b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=5678"
    Twilio(("12345",)).verify(post(body, signature, url=TWILIO_URL, kind=FORM), NOW)


def test_twilio_signs_json_by_its_digest_in_the_url() -> None:
    digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    signature = ("X-Twilio-Signature", "a9nBmqA0ju/hNViExpshrM61xv4=")
    url = f"{TWILIO_URL}&bodySHA256={digest}"
    body = b'{"property": "value", "boolean": true}'
    Twilio(("12345",)).verify(post(body, signature, url=url), NOW)
    assert reason(Twilio(("12345",)), post(body + b" ", signature, url=url)) == "wrong_body_digest"
    assert reason(Twilio(("12345",)), post(b"", signature, url=url)) == "wrong_body_digest"
    assert reason(Twilio(("12345",)), post(body, signature, url=TWILIO_URL)) == "wrong_body_digest"


def test_whatsapp_signs_the_escapes_that_it_sends() -> None:
    scheme = WhatsApp(("secret",), ("token",))
    plain = "0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914"
    scheme.verify(post(b"test", ("X-Hub-Signature-256", f"sha256={plain}")), NOW)
    # Signed by `openssl dgst`: Meta gives no example.
    body = rb'{"text":{"body":"caf\u00e9"}}'
    signature = ("X-Hub-Signature-256", "sha256=6e28196274f1b8b97f9cf264061d92b9befe5242d4528937ed17ce434a49ce1c")
    scheme.verify(post(body, signature), NOW)
    read_and_written = json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()
    assert reason(scheme, post(read_and_written, signature)) == "wrong_signature"
