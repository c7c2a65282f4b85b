from __future__ import annotations

from pathlib import Path

import pytest

from flowyard.settings import Port, ServiceSettings, read_settings

PASSWORD = "hunter2-hunter2"
DATABASE = f"postgresql://flowyard:{PASSWORD}@127.0.0.1:5432/flowyard"


class ThisSettings(ServiceSettings):
    port: Port = 7701


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FLOWYARD_DATABASE_URL", DATABASE)
    monkeypatch.setenv("FLOWYARD_NATS_URL", "nats://127.0.0.1:4222")
    return monkeypatch


def read(*argv: str) -> ThisSettings:
    return read_settings(ThisSettings, argv, program="flowyard-this", about="Does this.")


def refused(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as end:
        read()
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[:-1]


def test_what_isnt_set_has_its_default(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FLOWYARD_GRACE_S", "2.5")
    environment.setenv("FLOWYARD_HOST", "")
    settings = read()
    assert settings.database_url.get_secret_value() == DATABASE
    assert (settings.host, settings.port, settings.log_level, settings.grace_s) == ("127.0.0.1", 7701, "info", 2.5)


def test_each_wrong_value_is_reported_in_a_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("FLOWYARD_NATS_URL")
    environment.setenv("FLOWYARD_PORT", "99999")
    environment.setenv("FLOWYARD_LOG_LEVEL", "loud")
    assert refused(capsys) == [
        "flowyard-this: FLOWYARD_NATS_URL is missing: NATS: nats://user:password@host:port",
        "flowyard-this: FLOWYARD_PORT is '99999': should be less than or equal to 65535",
        "flowyard-this: FLOWYARD_LOG_LEVEL is 'loud': should be 'debug', 'info', 'warning' or 'error'",
    ]


def test_a_wrong_secret_is_never_shown(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("FLOWYARD_DATABASE_URL", f"mysql://{PASSWORD}@127.0.0.1/x")
    assert refused(capsys) == ["flowyard-this: FLOWYARD_DATABASE_URL: should begin with postgresql://"]


def test_a_secret_doesnt_show_in_the_settings() -> None:
    assert PASSWORD not in repr(read())


def test_a_value_may_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text(f"{DATABASE}\n")
    environment.delenv("FLOWYARD_DATABASE_URL")
    environment.setenv("FLOWYARD_DATABASE_URL_FILE", str(file))
    assert read().database_url.get_secret_value() == DATABASE


def test_a_file_that_cant_be_read_is_reported(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("FLOWYARD_DATABASE_URL")
    environment.setenv("FLOWYARD_DATABASE_URL_FILE", "/nowhere/url")
    assert refused(capsys) == [
        "flowyard-this: FLOWYARD_DATABASE_URL_FILE: can't read /nowhere/url: No such file or directory"
    ]


def test_a_value_and_a_file_for_it_are_one_too_many(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("FLOWYARD_DATABASE_URL_FILE", "/nowhere/url")
    assert refused(capsys) == [
        "flowyard-this: FLOWYARD_DATABASE_URL and FLOWYARD_DATABASE_URL_FILE are both set: keep one"
    ]


def test_help_lists_every_variable_and_no_value(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        read("--help")
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "FLOWYARD_DATABASE_URL (required, secret)" in printed
    assert "FLOWYARD_PORT (default: 7701)" in printed
    assert "FLOWYARD_LOG_LEVEL (default: info, debug | info | warning | error)" in printed
    assert "Seconds that open requests have" in printed
    assert PASSWORD not in printed


def test_help_and_version_need_no_variables(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("FLOWYARD_DATABASE_URL")
    with pytest.raises(SystemExit) as end:
        read("--version")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("flowyard-this 0.")


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(SystemExit) as end:
        read("--port", "1")
    assert end.value.code == 2
