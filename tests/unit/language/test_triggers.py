from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.installation import HOOK_SECRETS, Installation
from flowyard.language.load import load_text
from flowyard.language.mapping import Event, map_event
from flowyard.language.message_subjects import MESSAGES, covers, read_subjects
from flowyard.language.triggers import Messages, OtherWorkflow, Requests, Timed, Trigger, Webhook
from flowyard.language.values.rates import Rate
from flowyard.llm.keys import KEY_VARIABLES
from flowyard.schedules.facts import fire_facts
from flowyard.schedules.rules import Cron, Every
from support.documents import ROOT, load_file

HEAD = """
flow: {name: x}
state: {fields: {topic: {type: any, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
  t:
    webhook: {path: t, secret: "${env:T_WEBHOOK_SECRET}"}
"""


def trigger(text: str) -> Trigger:
    loaded = load_text(HEAD + text, "f.yaml")
    assert loaded.workflow is not None, [problem.render("f.yaml") for problem in loaded.problems]
    return loaded.workflow.triggers["t"]


def problems(text: str, installation: Installation) -> list[str]:
    return [problem.render("f.yaml") for problem in load_text(text, "f.yaml", installation).problems]


def test_a_document_has_its_triggers_with_what_they_say() -> None:
    workflow = load_file(ROOT / "tests" / "data" / "good" / "triggers.yaml").workflow
    assert workflow is not None
    assert list(workflow.triggers) == ["opened", "by-hand", "chat", "bot"]
    assert workflow.triggers["opened"].source == Webhook(
        path="issues/opened",
        sender="github",
        secrets=("${env:GITHUB_WEBHOOK_SECRET}", "${file:github-webhook}"),
        wait_s=10,
        body_limit=256_000,
        rate=Rate(300, 60),
    )
    by_hand, chat, bot = (workflow.triggers[name].source for name in ("by-hand", "chat", "bot"))
    assert isinstance(by_hand, Webhook)
    assert isinstance(chat, Webhook)
    assert isinstance(bot, Webhook)
    assert (by_hand.wait_s, workflow.triggers["by-hand"].enabled) == (30, False)
    assert chat.verify_tokens == ("${env:META_VERIFY_TOKEN}",)
    assert bot.secrets[0].startswith("d75a")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("'{payload.n}'", 3),
        ("'{payload.tags}'", ["a", "b"]),
        ("'n is {payload.n}'", "n is 3"),
        ("{expr: payload.n + 1}", 4),
        ("{expr: \"contains(headers, 'x-kind')\"}", True),
        ("{a: ['{payload.tags[1]}', 5], b: '{headers[\"x-kind\"]}'}", {"a": ["b", 5], "b": "push"}),
        ("'{query.q}'", ["1", "2"]),
        ("'{payload}'", {"n": 3, "tags": ["a", "b"], "braces": "{payload.n}"}),
        ("'{payload.braces}'", "{payload.n}"),
        ("plain", "plain"),
        ("null", None),
    ],
)
def test_inputs_are_made_from_the_event_and_keep_its_types(topic: str, expected: Any) -> None:
    event = Event({"n": 3, "tags": ["a", "b"], "braces": "{payload.n}"}, {"x-kind": "push"}, {"q": ["1", "2"]})
    assert map_event(trigger(f"    inputs: {{topic: {topic}}}\n"), event) == {"topic": expected}


@pytest.mark.parametrize(("action", "starts"), [("opened", True), ("closed", False)])
def test_an_event_that_does_not_match_becomes_nothing(action: str, *, starts: bool) -> None:
    chosen = trigger("    when: payload.action == 'opened'\n    inputs: {topic: x}\n")
    assert (map_event(chosen, Event({"action": action})) is not None) is starts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    inputs: {topic: '{payload.missing}'}\n", "payload has no 'missing'"),
        ("    inputs: {topic: '{headers[\"x-none\"]}'}\n", "headers has no 'x-none'"),
        ("    when: payload.action == 'x'\n    inputs: {topic: x}\n", "payload has no 'action'"),
        ("    when: payload.n\n    inputs: {topic: x}\n", "'payload.n' is int, not true or false"),
    ],
)
def test_an_event_that_lacks_what_is_named_is_an_error_and_no_mismatch(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message.replace("[", r"\[")):
        map_event(trigger(text), Event({"n": 3}))


def test_a_webhook_names_no_variable_that_the_installation_does_not_allow() -> None:
    text = HEAD.replace("T_WEBHOOK_SECRET", "HOME") + "    inputs: {topic: x}\n"
    shown = problems(text, Installation(hook_variables=HOOK_SECRETS))
    assert len(shown) == 1
    assert "webhooks may not name the variable HOME (name another, or set FLOWYARD_HOOK_VARIABLES=" in shown[0]
    assert problems(text, Installation()) == []


def test_no_key_of_a_model_may_be_named_by_webhooks() -> None:
    names = {name for names in KEY_VARIABLES.values() for name in names}
    assert [name for name in names if HOOK_SECRETS.allow(name)] == []


def test_the_secret_of_a_webhook_is_no_part_of_a_problem() -> None:
    text = HEAD.replace("${env:T_WEBHOOK_SECRET}", "s3cret-s3cret") + "    inputs: {topic: x}\n"
    shown = problems(text, Installation())
    assert len(shown) == 1
    assert "s3cret" not in shown[0]


def test_a_public_key_is_not_called_a_secret() -> None:
    text = (
        HEAD.replace('secret: "${env:T_WEBHOOK_SECRET}"', "kind: discord, public_key: ABC") + "    inputs: {topic: x}\n"
    )
    [shown] = problems(text, Installation())
    assert ": 'public_key' must be 64 hexadecimal digits in lower case (copy it from" in shown


def test_a_trigger_cannot_fill_a_secret_input() -> None:
    text = HEAD.replace("type: any, required", "type: str, secret: true, required") + "    inputs: {topic: x}\n"
    assert ["secret-use" in line for line in problems(text, Installation())] == [True]


FOLLOWING = """
flow: {name: a}
state: {fields: {topic: {type: str, default: rain}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
"""


def test_a_trigger_follows_the_ends_of_another_workflow() -> None:
    text = FOLLOWING + "  x: {workflow: {name: b}}\n  y: {workflow: {name: b, status: failed}}\n"
    loaded = load_text(text, "f.yaml")
    assert loaded.problems == ()
    assert loaded.workflow is not None
    sources = [trigger.source for trigger in loaded.workflow.triggers.values()]
    assert sources == [OtherWorkflow("b", ("succeeded",)), OtherWorkflow("b", ("failed",))]


@pytest.mark.parametrize(
    ("followed", "shown"),
    [
        ("a", "a cycle: 'a' after 'a'"),
        ("c", "a cycle: 'a' after 'c' after 'b' after 'a'"),
        ("d", None),
        ("f", None),
        ("unknown", None),
    ],
)
def test_a_chain_that_is_a_cycle_is_a_warning(followed: str, shown: str | None) -> None:
    chains = {"c": ["b"], "b": ["a", "b"], "d": ["e"], "e": ["d"], "f": ["d"]}
    text = FOLLOWING + f"  x: {{workflow: {{name: {followed}}}}}\n"
    loaded = load_text(text, "f.yaml", Installation(chains=chains))
    assert [problem.message.split(";")[0] for problem in loaded.warnings] == ([shown] if shown else [])
    assert loaded.errors == ()


def test_a_document_has_its_schedules_with_what_they_say() -> None:
    workflow = load_file(ROOT / "tests" / "data" / "good" / "schedules.yaml").workflow
    assert workflow is not None
    assert {name: trigger.source for name, trigger in workflow.triggers.items()} == {
        "mornings": Timed(Cron("0 7 * * MON-FRI", "Europe/Berlin"), 300, "queue", "all", 2 * 86_400),
        "daily": Timed(Cron("0 0 * * *", "UTC")),
        "often": Timed(Every(timedelta(minutes=15)), overlap="cancel_previous", catch_up="none"),
        "seconds": Timed(Every(timedelta(seconds=2)), overlap="allow", window_s=60),
    }
    assert [trigger.enabled for trigger in workflow.triggers.values()] == [True, False, True, True]


def test_the_run_of_a_fire_gets_its_inputs_from_the_fire() -> None:
    workflow = load_file(ROOT / "tests" / "data" / "good" / "schedules.yaml").workflow
    assert workflow is not None
    fire = fire_facts(
        Cron("0 7 * * 1-5", "Europe/Berlin"), datetime(2026, 11, 30, 6, tzinfo=UTC), number=3, backfill=True
    )
    assert map_event(workflow.triggers["mornings"], Event(fire=fire)) == {
        "day": "2026-11-30",
        "since": "2026-11-27T06:00:00+00:00",
        "number": 3,
        "by_hand": True,
    }
    assert map_event(workflow.triggers["daily"], Event(fire=fire)) is None
    assert map_event(workflow.triggers["often"], Event(fire=fire)) == {
        "day": "2026-11-30",
        "since": "2026-11-30T07:00:00+01:00",
    }


def test_messages_and_requests_have_what_the_document_says() -> None:
    text = (
        FOLLOWING
        + """
  a: {nats: {subject: flowyard.triggers.a.>}}
  b: {nats: {subject: flowyard.triggers.b, tries: 2, deduplicate: id, format: text}}
  c: {nats: {request: flowyard.requests.c}}
  d: {nats: {request: flowyard.requests.d.*, wait: 2m, format: text}}
"""
    )
    loaded = load_text(text, "f.yaml")
    assert loaded.problems == ()
    assert loaded.workflow is not None
    assert [trigger.source for trigger in loaded.workflow.triggers.values()] == [
        Messages("flowyard.triggers.a.>"),
        Messages("flowyard.triggers.b", 2, only_by_id=True, is_text=True),
        Requests("flowyard.requests.c"),
        Requests("flowyard.requests.d.*", 120, is_text=True),
    ]


def test_messages_name_no_subject_that_the_installation_does_not_keep() -> None:
    text = FOLLOWING + "  a: {nats: {subject: shop.orders.eu}}\n"
    [shown] = problems(text, Installation(subjects=(MESSAGES,)))
    assert "write flowyard.triggers.eu, or add it to FLOWYARD_TRIGGER_SUBJECTS" in shown
    assert problems(text, Installation(subjects=(MESSAGES, "shop.>"))) == []


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.>", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "a.*.>", True), ("a.>", "a", False),
        ("a.>", "b.c", False), ("a.*", "a.b", True), ("a.*", "a.*", True), ("a.*", "a.b.c", False),
        ("a.*", "a.>", False), ("a.b", "a.b", True), ("a.b", "a.*", False), ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False), ("*.b", "a.b", True),
    ],
)  # fmt: skip
def test_a_subject_is_covered_by_a_pattern_that_matches_whatever_it_matches(
    pattern: str, subject: str, *, covered: bool
) -> None:
    assert covers(pattern, subject) is covered


@pytest.mark.parametrize(
    "text", [">", "*.orders", "flowyard.>", "flowyard.runs.queued", "$JS.API.>", "_INBOX.>", "a b", "a..b", "flowyard"]
)
def test_no_setting_makes_messages_of_services_start_runs(text: str) -> None:
    with pytest.raises(ValueError, match=r"subject|wildcard"):
        read_subjects(text)


def test_the_stream_has_the_subjects_of_the_setting_and_those_of_each_installation() -> None:
    assert read_subjects("") == (MESSAGES,)
    assert read_subjects("shop.>, flowyard.triggers.x, shop.>, crm.*.new") == (MESSAGES, "shop.>", "crm.*.new")
