"""How many model calls are made, as the settings of an executor say."""

from __future__ import annotations

import pytest

from flowyard.settings import read_settings
from flowyard.storage.pace import Limit
from flowyard_executor.settings import ExecutorSettings


def settings(monkeypatch: pytest.MonkeyPatch, text: str) -> ExecutorSettings:
    monkeypatch.setenv("FLOWYARD_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("FLOWYARD_NATS_URL", "nats://127.0.0.1")
    monkeypatch.setenv("FLOWYARD_MODEL_LIMITS", text)
    return read_settings(ExecutorSettings, [], program="e", about="")


def test_limits_are_those_of_a_provider_or_of_one_of_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"openai": {"concurrency": 20, "requests_per_minute": 500}, "openai:TEAM_KEY": {"tokens_per_minute": 9}}'
    assert settings(monkeypatch, text).model_limits == {
        "openai": Limit(name="openai", concurrency=20, requests_per_minute=500),
        "openai:TEAM_KEY": Limit(name="openai:TEAM_KEY", tokens_per_minute=9),
    }
    assert settings(monkeypatch, "").model_limits == {}


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("{", "should be JSON such as"),
        ("[]", "should be a mapping of providers to limits"),
        ('{"openai/gpt": {"concurrency": 1}}', "has 'openai/gpt', which is no provider: write provider, or"),
        ('{"openai": 5}', "should have a mapping for 'openai' with some of concurrency, requests_per_minute"),
        ('{"openai": {}}', "should have a mapping for 'openai'"),
        ('{"openai": {"concurency": 5}}', "has 'concurency' for 'openai', which is no limit (did you mean"),
        ('{"openai": {"concurrency": 0}}', "should have a whole number above 0 for 'openai.concurrency', not 0"),
        ('{"openai": {"tokens_per_minute": 1.5}}', "should have a whole number above 0 for 'openai.tokens_per_minute'"),
        ('{"openai": {"concurrency": true}}', "should have a whole number above 0 for 'openai.concurrency', not true"),
    ],
)
def test_what_is_wrong_with_them_is_reported_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, because: str
) -> None:
    with pytest.raises(SystemExit):
        settings(monkeypatch, text)
    assert because in capsys.readouterr().err
