from __future__ import annotations

import os

import pytest

from flowyard.export.addresses import OtelSettings, OtlpAddress, read_otel


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def address(monkeypatch: pytest.MonkeyPatch, **variables: str) -> OtlpAddress | None:
    return settings(monkeypatch, **variables).address


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> OtelSettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    return read_otel(program="test")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here:4318"}, "http://here:4318/v1/traces"),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here:4318/otlp/"}, "http://here:4318/otlp/v1/traces"),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "https://there/api/traces"}, "https://there/api/traces"),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://here", "EXPORTER_OTLP_TRACES_ENDPOINT": "http://there/x/"},
            "http://there/x/",
        ),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here", "SDK_DISABLED": "TRUE"}, None),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here", "SDK_DISABLED": "yes"}, "http://here/v1/traces"),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here", "TRACES_EXPORTER": "none"}, None),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here", "TRACES_EXPORTER": "console,otlp"}, "http://here/v1/traces"),
    ],
)
def test_traces_go_where_the_specification_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None
) -> None:
    read = address(monkeypatch, **variables)
    assert (read.url if read is not None else None) == url


def test_what_is_said_of_traces_goes_before_what_is_said_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(
        monkeypatch,
        EXPORTER_OTLP_ENDPOINT="http://here",
        EXPORTER_OTLP_HEADERS="authorization=Bearer%20abc, x-team = red",
        EXPORTER_OTLP_TIMEOUT="2500",
        EXPORTER_OTLP_TRACES_PROTOCOL="http/json",
        EXPORTER_OTLP_PROTOCOL="http/protobuf",
        EXPORTER_OTLP_COMPRESSION="gzip",
    )
    assert read.address == OtlpAddress(
        "http://here/v1/traces", {"authorization": "Bearer abc", "x-team": "red"}, "http/json", compressed=True
    )
    assert read.timeout_s == 2.5
    assert "abc" not in repr(read) + repr(read.address)
    again = settings(monkeypatch, EXPORTER_OTLP_TRACES_HEADERS="a=b", EXPORTER_OTLP_TRACES_TIMEOUT="100")
    assert again.address is not None
    assert (again.address.headers, again.timeout_s) == ({"a": "b"}, 0.1)


def test_a_service_is_named_by_its_own_variable_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).resource["service.name"] == "flowyard"
    named = settings(monkeypatch, RESOURCE_ATTRIBUTES="service.name=a,deployment.environment=test%20one")
    assert named.resource | {"service.version": ""} == {
        "service.name": "a", "service.version": "", "deployment.environment": "test one",
    }  # fmt: skip
    assert settings(monkeypatch, SERVICE_NAME="b").resource["service.name"] == "b"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc': should be 'http/protobuf' or 'http/json'"),
        ("EXPORTER_OTLP_ENDPOINT", "here:4317", "'here:4317': should be http://host:port or https://host"),
        ("EXPORTER_OTLP_ENDPOINT", "http://me:secret@here", "_ENDPOINT: should not contain a password"),
        ("EXPORTER_OTLP_TIMEOUT", "soon", "'soon': should be a valid number"),
        ("EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS: should be name=value,name=value"),
        (
            "EXPORTER_OTLP_HEADERS",
            "x-key=secret%0A",
            "OTEL_EXPORTER_OTLP_HEADERS: should contain names and values that are valid",
        ),
        (
            "EXPORTER_OTLP_HEADERS",
            "x-key=secret%C3%A9",
            "should contain names and values that are valid in HTTP headers",
        ),
    ],
)
def test_a_wrong_value_ends_the_start_with_one_line_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://here")
    monkeypatch.setenv(f"OTEL_{variable}", value)
    with pytest.raises(SystemExit) as ended:
        read_otel(program="flowyard-registry")
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in shown
    assert (shown.count("\n"), "secret" in shown) == (1, False)


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"EXPORTER_OTLP_ENDPOINT": "http://here", "SDK_DISABLED": "true"},
        {"EXPORTER_OTLP_ENDPOINT": "http://here", "TRACES_EXPORTER": "none"},
    ],
)
def test_settings_of_other_programs_stop_no_registry_that_sends_no_traces(
    monkeypatch: pytest.MonkeyPatch, others: dict[str, str]
) -> None:
    read = settings(monkeypatch, EXPORTER_OTLP_PROTOCOL="grpc", EXPORTER_OTLP_TIMEOUT="0", SERVICE_NAME="b", **others)
    assert (read.address, read.resource["service.name"]) == (None, "b")
