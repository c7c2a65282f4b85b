"""Which text can be the address of a model's API."""

from __future__ import annotations

import pytest

from flowyard.language.addresses import address_fault, normal_address

LONGEST = "https://models.example/" + "p" * 1977


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:11434",
        "https://models.example/v1/",
        "http://[::1]:8000/any/path",
        "http://127.0.0.1:65535",
        LONGEST,
    ],
)
def test_an_address_has_a_scheme_and_a_host_and_perhaps_a_port_and_a_path(address: str) -> None:
    assert address_fault(address) is None


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        (f"{LONGEST}p", "has 2,001 characters, and 2,000 are allowed"),
        *(
            (f"http://models.example/{character}v1", f"contains the character U+{ord(character):04X}")
            for character in "\0\t\n\r\x1b \x7f\xa0\u2028\u2029\\"
        ),
        ("https://models.example?key=k", "contains a query or a fragment: paths are added to its end"),
        ("https://models.example/v1#part", "contains a query or a fragment: paths are added to its end"),
        ("ftp://models.example", "must be an address with a host"),
        ("file:///v1", "must be an address with a host"),
        ("models.example/v1", "must be an address with a host"),
        ("http://", "must be an address with a host"),
        ("http:///v1", "must be an address with a host"),
        ("http://models.example:0", "must be an address with a host"),
        ("http://models.example:65536", "must be an address with a port from 1 to 65535, not '65536'"),
        ("http://models.example:eighty", "must be an address with a port from 1 to 65535, not 'eighty'"),
        ("http://[::1", "must be an address: in brackets is an IPv6 address, such as http://[::1]:8000"),
        ("", "must be an address with a host"),
    ],
    ids=ascii,
)
def test_what_is_wrong_with_an_address_is_named(address: str, fault: str) -> None:
    assert address_fault(address) == fault


@pytest.mark.parametrize(
    "address",
    [
        "https://anna:sesame@models.example/v1",
        "https://sesame@models.example",
        "https://:sesame@models.example",
        "https://@models.example",
        "https://anna:sesame@models.example:no-port",
        "https://anna:sesame@[::1",
        "https://anna:sesame/@models.example",
        "https://anna:ses\name@models.example",
        f"https://anna:sesame@{'x' * 2000}",
    ],
    ids=ascii,
)
def test_a_user_and_a_password_are_refused_and_never_shown(address: str) -> None:
    fault = address_fault(address)
    assert fault is not None
    assert "sesame" not in fault
    assert "anna" not in fault


def test_only_the_scheme_is_the_same_in_any_case() -> None:
    assert normal_address("HTTPS://Models.Example/V1") == "https://Models.Example/V1"
    assert address_fault(normal_address("HTTP://localhost:1")) is None
