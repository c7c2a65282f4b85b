"""What a verified request becomes: an answer that its sender waits for, or deliveries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from flowyard.errors.requests import InvalidRequest
from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.request import Answer, HookDelivery, HookRequest
from flowyard.webhooks.schemes import read_unverified, receive
from support.hooks import FORM, NOW, PARTIES, URL, post, without


def received(name: str, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
    return receive(PARTIES[name].scheme, PARTIES[name].signed(request), NOW)


def of(name: str, payload: Any, *headers: tuple[str, str]) -> Answer | tuple[HookDelivery, ...]:
    return received(name, post(json.dumps(payload).encode(), *headers))


def form(fields: dict[str, str] | list[tuple[str, str]]) -> HookRequest:
    return post(urlencode(fields).encode(), kind=f"{FORM}; charset=utf-8")


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("bearer", {"id": "evt_1"}, "msg_1"),
        ("standard", {"id": "evt_1"}, "msg_1"),
        ("github", {"id": "evt_1"}, "msg_1"),
        ("slack", {"type": "event_callback", "event_id": "Ev1", "trigger_id": "1.2"}, "Ev1"),
        ("stripe", {"id": "evt_1"}, "evt_1"),
        ("telegram", {"update_id": 10_000, "message": {}}, "10000"),
        ("discord", {"type": 2, "id": "845027738276462632"}, "845027738276462632"),
        ("discord", {"type": 1, "event": {"type": "ENTITLEMENT_CREATE"}}, None),
    ],
)
def test_a_delivery_has_the_id_that_its_sender_keeps_in_each_copy(
    name: str, payload: Any, expected: str | None
) -> None:
    assert of(name, payload) == (HookDelivery(expected, payload),)


@pytest.mark.parametrize("name", PARTIES)
def test_a_request_is_read_without_a_secret_as_it_is_with_it(name: str) -> None:
    request = PARTIES[name].signed(post(b'{"id": "evt_1", "MessageSid": "SM1", "update_id": 7}'))
    assert read_unverified(PARTIES[name].sender, request) == receive(PARTIES[name].scheme, request, NOW)


@pytest.mark.parametrize("wrong", [None, True, 1.5, "", "a b", "a\n", "é", "x" * 257, ["evt_1"], {"id": "evt_1"}])
def test_what_can_be_no_id_is_none(wrong: Any) -> None:
    assert of("stripe", {"id": wrong}) == (HookDelivery(None, {"id": wrong}),)


def test_the_id_of_a_generic_delivery_is_its_signature() -> None:
    request = PARTIES["generic"].signed(post(b"1"))
    expected = (HookDelivery(dict(request.headers)["x-webhook-signature"], 1),)
    assert received("generic", post(b"1")) == expected == receive(PARTIES["generic"].scheme, request, NOW)
    later = NOW + timedelta(seconds=1)
    assert receive(PARTIES["generic"].scheme, PARTIES["generic"].signed(post(b"1"), later), later) != expected


def test_a_bearer_may_send_no_id() -> None:
    request = without(PARTIES["bearer"].signed(post(b"[]")), "idempotency-key")
    assert receive(PARTIES["bearer"].scheme, request, NOW) == (HookDelivery(None, []),)


def test_a_bearer_is_named_in_any_case_but_must_have_a_token() -> None:
    scheme = PARTIES["bearer"].scheme
    scheme.verify(post(b"", ("Authorization", "bEARER s3cret")), NOW)
    for value in ("s3cret", "Basic s3cret", "Bearer", "Bearer "):
        with pytest.raises(Unverified) as caught:
            scheme.verify(post(b"", ("Authorization", value)), NOW)
        assert caught.value.reason == "missing_token"


def test_a_request_without_a_body_has_no_payload() -> None:
    assert received("standard", post(b"")) == (HookDelivery("msg_1", None),)


def test_the_ping_of_github_starts_nothing() -> None:
    assert of("github", {"zen": "Design for failure."}, ("X-GitHub-Event", "ping")) == Answer(204)
    assert of("github", {"zen": ""}, ("X-GitHub-Event", "push")) == (HookDelivery("msg_1", {"zen": ""}),)


def test_github_and_slack_put_json_into_a_form() -> None:
    payload = {"type": "block_actions", "trigger_id": "1.2", "text": "ä & b"}
    request = form({"payload": json.dumps(payload)})
    assert received("github", request) == (HookDelivery("msg_1", payload),)
    assert received("slack", request) == (HookDelivery("1.2", payload),)


def test_a_command_of_slack_is_a_form() -> None:
    fields = {"command": "/ask", "text": "", "trigger_id": "398738663015.47445629121"}
    assert received("slack", form(fields)) == (HookDelivery("398738663015.47445629121", fields),)


def test_slack_is_answered_when_it_looks_for_us() -> None:
    payload = {"token": "t", "type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY"}
    answer = of("slack", payload)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.media_type) == (200, "application/json")
    assert json.loads(answer.body) == {"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY"}
    assert received("slack", form({"ssl_check": "1", "token": "t"})) == Answer(200)


def test_discord_is_answered_when_it_looks_for_us() -> None:
    assert of("discord", {"type": 1, "id": "1"}) == Answer(200, b'{"type": 1}', "application/json")
    assert of("discord", {"type": 0, "application_id": "1"}) == Answer(204)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"MessageSid": "SM1", "SmsStatus": "received"}, "SM1"),
        ({"MessageSid": "SM1", "MessageStatus": "sent"}, "SM1:sent"),
        ({"MessageSid": "SM1", "MessageStatus": "delivered"}, "SM1:delivered"),
        ({"SmsSid": "SM1"}, "SM1"),
        ({"CallSid": "CA1", "Digits": "1"}, "token-1"),
    ],
)
def test_twilio_reports_more_than_once_on_messages_and_calls(fields: dict[str, str], expected: str) -> None:
    request = form(fields).with_headers(("I-Twilio-Idempotency-Token", "token-1"))
    assert received("twilio", request) == (HookDelivery(expected, fields),)


def test_a_field_that_is_repeated_is_a_list() -> None:
    assert received("twilio", form([("a", "1"), ("b", ""), ("a", "1")])) == (
        HookDelivery(None, {"a": ["1", "1"], "b": ""}),
    )


@pytest.mark.parametrize("name", ["github", "slack", "twilio"])
def test_a_body_that_could_be_read_in_two_ways_is_not_read(name: str) -> None:
    request = PARTIES[name].signed(form({"payload": "{}"})).with_headers(("Content-Type", "application/json"))
    with pytest.raises(Unverified) as caught:
        receive(PARTIES[name].scheme, request, NOW)
    assert caught.value.reason == "repeated_header"


def change(**value: Any) -> dict[str, Any]:
    return {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "7"}, **value},
    }


def message(number: int, sender: str = "49151") -> dict[str, Any]:
    return {"id": f"wamid.{number}", "from": sender, "type": "text", "text": {"body": f"text {number}"}}


def test_whatsapp_sends_many_messages_at_once() -> None:
    contacts = [{"wa_id": "49152", "profile": {"name": "B"}}, {"wa_id": "49151", "profile": {"name": "A"}}]
    payload = {
        "object": "whatsapp_business_account",
        "entry": [
            {"id": "a", "changes": [change(contacts=contacts, messages=[message(1), message(2, "49152")])]},
            {"id": "b", "changes": [change(messages=[message(3)]), change(contacts=contacts, messages=[message(4)])]},
        ],
    }
    deliveries = of("whatsapp", payload)
    assert isinstance(deliveries, tuple)
    assert [delivery.id for delivery in deliveries] == ["wamid.1", "wamid.2", "wamid.3", "wamid.4"]
    assert deliveries[0].payload == {
        "account": "a",
        "metadata": {"phone_number_id": "7"},
        "contact": contacts[1],
        "message": message(1),
    }
    assert [delivery.payload["account"] for delivery in deliveries] == ["a", "a", "b", "b"]
    assert [delivery.payload["contact"] for delivery in deliveries[1:]] == [contacts[0], None, contacts[1]]


def test_what_became_of_messages_to_whatsapp_starts_nothing() -> None:
    status = change(statuses=[{"id": "wamid.1", "status": "read"}])
    other = {"field": "message_template_status_update", "value": {"messages": [message(1)]}}
    assert of("whatsapp", {"entry": [{"id": "a", "changes": [status, other]}]}) == ()
    assert of("whatsapp", {"entry": []}) == ()


@pytest.mark.parametrize(
    "payload",
    [
        [],
        None,
        {"entry": {}},
        {"entry": [1]},
        {"entry": [{"changes": 1}]},
        {"entry": [{"changes": [{"field": "messages"}]}]},
        {"entry": [{"changes": [change(messages="wamid.1")]}]},
        {"entry": [{"changes": [change(messages=[message(1)], contacts=[None])]}]},
    ],
)
def test_messages_of_another_shape_are_not_lost_in_silence(payload: Any) -> None:
    with pytest.raises(InvalidRequest, match="should be a list of objects"):
        of("whatsapp", payload)


def challenge(query: str) -> Answer | tuple[HookDelivery, ...]:
    return receive(PARTIES["whatsapp"].scheme, HookRequest("GET", f"{URL}?{query}", (), b""), NOW)


def test_meta_is_answered_with_its_challenge() -> None:
    answer = challenge("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=v")
    assert answer == Answer(200, b"1158201444", "text/plain")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("hub.mode=subscribe&hub.challenge=1", "missing_token"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=", "missing_token"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=s3cret", "wrong_token"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=v&hub.verify_token=v", "repeated_parameter"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=v&hub.challenge=2", "repeated_parameter"),
        ("a&" * 1001, "malformed_url"),
    ],
)
def test_who_only_says_to_be_meta_gets_no_challenge_back(query: str, expected: str) -> None:
    with pytest.raises(Unverified) as caught:
        challenge(query)
    assert caught.value.reason == expected


@pytest.mark.parametrize("query", ["hub.verify_token=v&hub.challenge=1", "hub.verify_token=v&hub.mode=subscribe"])
def test_a_get_without_a_challenge_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest, match="query"):
        challenge(query)
