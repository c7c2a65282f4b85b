"""What workflows may spend per day, as the settings of an executor say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowyard.language.workflow import Budget
from flowyard.settings import read_settings
from flowyard_executor.settings import ExecutorSettings

VARIABLE = "FLOWYARD_DAILY_BUDGETS"


def settings(monkeypatch: pytest.MonkeyPatch, text: str) -> ExecutorSettings:
    monkeypatch.setenv("FLOWYARD_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("FLOWYARD_NATS_URL", "nats://127.0.0.1")
    monkeypatch.setenv(VARIABLE, text)
    return read_settings(ExecutorSettings, [], program="e", about="")


def test_amounts_are_read_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"triage": {"usd": "1.50", "tokens": 100000}, "poem": {"usd": 0.1, "model_calls": 7}, "*": {"usd": 5}}'
    assert settings(monkeypatch, text).daily_budgets == {
        "triage": Budget(Decimal("1.50"), 100_000),
        "poem": Budget(Decimal("0.1"), None, 7),
        "*": Budget(Decimal(5)),
    }


def test_nothing_is_limited_unless_somebody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, "").daily_budgets == {}


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("{", "should be JSON such as"),
        ('{"a": {"usd": NaN}}', "NaN is no amount"),
        ("[" * 100_000, "should be JSON such as"),
        ("[]", "should be a mapping of workflows to limits"),
        ('{"a": {"usd": 1}, "a": {"usd": 2}}', "'a' is there twice"),
        ('{"a": 5}', "should have a mapping for 'a' with some of usd, tokens, model_calls"),
        ('{"a": {}}', "should have a mapping for 'a'"),
        ('{"a": {"tokes": 5}}', "has 'tokes' for 'a', which is no limit (did you mean 'tokens'?)"),
        ('{"a": {"usd": 0}}', "should have an amount above 0 for 'a.usd', not 0"),
        ('{"a": {"usd": "inf"}}', "should have an amount above 0 for 'a.usd', not \"inf\""),
        ('{"a": {"usd": true}}', "should have an amount above 0 for 'a.usd', not true"),
        ('{"a": {"tokens": 1.5}}', "should have a whole number above 0 for 'a.tokens', not"),
        ('{"a": {"model_calls": true}}', "should have a whole number above 0 for 'a.model_calls', not true"),
        ('{"a": {"model_calls": 4294967296}}', "should have a whole number above 0 for 'a.model_calls'"),
    ],
)
def test_what_is_wrong_with_them_is_reported_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, because: str
) -> None:
    with pytest.raises(SystemExit):
        settings(monkeypatch, text)
    assert because in capsys.readouterr().err
