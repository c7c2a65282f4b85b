"""Settings of an executor that are written in JSON: what workflows may spend per day, and how many calls are made."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowyard.language.workflow import Budget
from flowyard.settings import read_settings
from flowyard.storage.pace import Limit
from flowyard_executor.settings import ExecutorSettings

DAY = "FLOWYARD_DAILY_BUDGETS"
PACE = "FLOWYARD_MODEL_LIMITS"


def settings(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> ExecutorSettings:
    monkeypatch.setenv("FLOWYARD_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("FLOWYARD_NATS_URL", "nats://127.0.0.1")
    monkeypatch.setenv(name, text)
    return read_settings(ExecutorSettings, [], program="e", about="")


def test_amounts_are_read_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"triage": {"usd": "1.50", "tokens": 100000}, "poem": {"usd": 0.1, "model_calls": 7}, "*": {"usd": 5}}'
    assert settings(monkeypatch, DAY, text).daily_budgets == {
        "triage": Budget(Decimal("1.50"), 100_000),
        "poem": Budget(Decimal("0.1"), None, 7),
        "*": Budget(Decimal(5)),
    }


def test_limits_are_those_of_a_provider_or_of_one_of_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"openai": {"concurrency": 20, "requests_per_minute": 500}, "openai:TEAM_KEY": {"tokens_per_minute": 9}}'
    assert settings(monkeypatch, PACE, text).model_limits == {
        "openai": Limit(name="openai", concurrency=20, requests_per_minute=500),
        "openai:TEAM_KEY": Limit(name="openai:TEAM_KEY", tokens_per_minute=9),
    }
    assert settings(monkeypatch, PACE, '{"nano-gpt": {"concurrency": 2}}').model_limits.keys() == {"nano-gpt"}


def test_nothing_is_limited_unless_somebody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, DAY, "").daily_budgets == {}
    assert settings(monkeypatch, PACE, "").model_limits == {}


@pytest.mark.parametrize(
    ("name", "text", "because"),
    [
        (DAY, "{", "should be JSON such as"),
        (DAY, '{"a": {"usd": NaN}}', "NaN is no amount"),
        (DAY, "[" * 100_000, "should be JSON such as"),
        (DAY, "[]", "should be a mapping of workflows to limits"),
        (DAY, '{"a": {"usd": 1}, "a": {"usd": 2}}', "the key 'a' is there twice"),
        (DAY, '{"a": 5}', "should have a mapping for 'a' with some of usd, tokens, model_calls"),
        (DAY, '{"a": {}}', "should have a mapping for 'a'"),
        (DAY, '{"a": {"tokes": 5}}', "has 'tokes' for 'a', which is no limit (did you mean 'tokens'?)"),
        (DAY, '{"a": {"usd": 0}}', "should have an amount above 0 for 'a.usd', not 0"),
        (DAY, '{"a": {"usd": "inf"}}', "should have an amount above 0 for 'a.usd', not \"inf\""),
        (DAY, '{"a": {"usd": true}}', "should have an amount above 0 for 'a.usd', not true"),
        (DAY, '{"a": {"tokens": 1.5}}', "should have a whole number above 0 for 'a.tokens', not"),
        (DAY, '{"a": {"model_calls": true}}', "should have a whole number above 0 for 'a.model_calls', not true"),
        (DAY, '{"a": {"model_calls": 4294967296}}', "should have a whole number above 0 for 'a.model_calls'"),
        (PACE, "{", "should be JSON such as"),
        (PACE, "[]", "should be a mapping of providers to limits"),
        (PACE, '{"openai/gpt": {"concurrency": 1}}', "has 'openai/gpt', which is no provider: write provider, or"),
        (PACE, '{"opnai": {"concurrency": 1}}', "has 'opnai', which is no provider (did you mean 'openai'?)"),
        (PACE, '{"openai": 5}', "should have a mapping for 'openai' with some of concurrency, requests_per_minute"),
        (PACE, '{"openai": {}}', "should have a mapping for 'openai'"),
        (PACE, '{"openai": {"concurency": 5}}', "has 'concurency' for 'openai', which is no limit (did you mean"),
        (PACE, '{"openai": {"concurrency": 0}}', "should have a whole number above 0 for 'openai.concurrency', not 0"),
        (
            PACE,
            '{"openai": {"tokens_per_minute": 1.5}}',
            "should have a whole number above 0 for 'openai.tokens_per_minute'",
        ),
        (
            PACE,
            '{"openai": {"concurrency": true}}',
            "should have a whole number above 0 for 'openai.concurrency', not true",
        ),
    ],
)
def test_what_is_wrong_with_them_is_reported_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str, because: str
) -> None:
    with pytest.raises(SystemExit):
        settings(monkeypatch, name, text)
    assert because in capsys.readouterr().err
