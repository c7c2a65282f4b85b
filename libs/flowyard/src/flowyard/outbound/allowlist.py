"""The setting `FLOWYARD_OUTBOUND_ALLOW`: which addresses may be reached although they aren't public. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, TypeAlias

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.errors.outbound import AddressRefused, OutboundInvalid
from flowyard.outbound.addresses import Address, ipv4_inside, special_kind
from flowyard.outbound.urls import read_destination, read_host


@dataclass(frozen=True, slots=True)
class Allowlist:
    """`names`: hosts that may have any address. `networks`: addresses that any host may have."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def check(self, host: str, addresses: Iterable[Address]) -> None:
        """Raises AddressRefused if one of the host's addresses is neither public nor listed."""
        for address in addresses:
            kind = special_kind(address)
            if kind is not None and not self._allows(host, address):
                raise AddressRefused(host=host, address=str(address), kind=kind)

    def _allows(self, host: str, address: Address) -> bool:
        forms = (address, ipv4_inside(address) or address)
        return host in self.names or any(form in network for network in self.networks for form in forms)

    def __or__(self, other: Allowlist) -> Allowlist:
        return Allowlist(self.names | other.names, self.networks + other.networks)

    def __str__(self) -> str:
        return ", ".join([*sorted(self.names), *map(str, self.networks)])

    def __len__(self) -> int:
        return len(self.names) + len(self.networks)


PUBLIC_ONLY: Final = Allowlist()


def read_allowlist(text: object) -> Allowlist:
    """`hooks.lan, 10.0.0.5, fd00::/8` → an allowlist. Raises ValueError."""
    if isinstance(text, Allowlist):
        return text
    names: set[str] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for word in str(text).replace(",", " ").split():
        network = _network(word)
        if network is None:
            names.add(_name(word))
        else:
            networks.append(network)
    return Allowlist(frozenset(names), tuple(networks))


def _network(word: str) -> IPv4Network | IPv6Network | None:
    """None if it can only be a name."""
    try:
        return ip_network(word)
    except ValueError as error:
        if "/" in word or ":" in word:
            raise ValueError(f"should be names, addresses and networks, separated by commas: {error}") from None
        return None


def _name(word: str) -> str:
    try:
        host, address = read_host(read_destination(f"http://{word}/").url.raw_host or "")
    except OutboundInvalid:
        raise ValueError(
            f"should be names, addresses and networks, separated by commas: {word!r} is none of them"
        ) from None
    if address is not None:
        raise ValueError(f"should have addresses in their usual form: write {address} instead of {word}")
    return host


OutboundAllow: TypeAlias = Annotated[
    Allowlist,
    NoDecode,
    PlainValidator(read_allowlist),
    Field(
        description="Hosts and addresses that aren't public and that documents may send requests to: "
        "names, addresses and networks, separated by commas"
    ),
]
