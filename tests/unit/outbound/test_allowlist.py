"""The setting with the hosts that may be reached although they aren't public."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from flowyard.errors.outbound import AddressRefused
from flowyard.outbound.allowlist import PUBLIC_ONLY, OutboundAllow, read_allowlist
from flowyard.settings import Port, ServiceSettings, read_settings


class WithOutbound(ServiceSettings):
    port: Port = 7702
    outbound_allow: OutboundAllow = PUBLIC_ONLY


@pytest.mark.parametrize(
    ("text", "host", "address"),
    [
        ("10.0.0.5", "hooks.lan", "10.0.0.5"),
        ("10.0.0.0/24", "hooks.lan", "10.0.0.5"),
        ("127.0.0.1, 10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("fd00::/8", "fd00::5", "fd00::5"),
        ("hooks.lan", "hooks.lan", "10.0.0.5"),
        ("HOOKS.lan. ::1", "hooks.lan", "fe80::1"),
        ("bücher.lan", "xn--bcher-kva.lan", "10.0.0.5"),
        ("10.0.0.5", "hooks.lan", "64:ff9b::10.0.0.5"),
        ("::ffff:10.0.0.0/120", "hooks.lan", "::ffff:10.0.0.5"),
    ],
)
def test_what_is_listed_may_be_reached(text: str, host: str, address: str) -> None:
    read_allowlist(text).check(host, [ip_address("8.8.8.8"), ip_address(address)])


@pytest.mark.parametrize(
    ("text", "host", "address"),
    [
        ("", "hooks.lan", "10.0.0.5"),
        ("hooks.lan", "other.lan", "10.0.0.5"),
        ("hooks.lan", "a.hooks.lan", "10.0.0.5"),
        ("hooks.lan", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.0/24", "hooks.lan", "10.0.1.5"),
        ("10.0.0.5", "hooks.lan", "::ffff:10.0.0.5"),
        ("64:ff9b::8.8.8.8", "hooks.lan", "64:ff9b::10.0.0.5"),
    ],
)
def test_what_is_not_listed_may_not(text: str, host: str, address: str) -> None:
    with pytest.raises(AddressRefused):
        read_allowlist(text).check(host, [ip_address(address)])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.5/24", "has host bits set"),
        ("http://hooks.lan/", "none of them|isn't|does not appear"),
        ("hooks.lan:8080", "does not appear"),
        ("*.lan", "none of them"),
        ("user@hooks.lan", "none of them"),
        ("10.1", "write 10.0.0.1 instead of 10.1"),
        ("0x7f000001", "write 127.0.0.1 instead"),
        ("1.2.3.4.5", "none of them"),
    ],
)
def test_an_entry_that_could_never_match_is_an_error(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        read_allowlist(text)


def test_it_is_a_setting_of_a_service(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLOWYARD_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("FLOWYARD_NATS_URL", "nats://127.0.0.1:4222")

    def read() -> WithOutbound:
        return read_settings(WithOutbound, [], program="flowyard-this", about="Sends.")

    assert read().outbound_allow == PUBLIC_ONLY
    monkeypatch.setenv("FLOWYARD_OUTBOUND_ALLOW", "hooks.lan, 10.0.0.0/8")
    assert str(read().outbound_allow) == "hooks.lan, 10.0.0.0/8"
    monkeypatch.setenv("FLOWYARD_OUTBOUND_ALLOW", "10.1")
    with pytest.raises(SystemExit):
        read()
    assert "FLOWYARD_OUTBOUND_ALLOW is '10.1': should have addresses in their usual form" in capsys.readouterr().err
