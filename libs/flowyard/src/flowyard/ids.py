"""Identifiers: UUID version 7 (RFC 9562), so that they sort by the time of their making."""

from __future__ import annotations

from uuid import UUID


def uuid7(now_ms: int, random: bytes) -> UUID:
    """`now_ms`: milliseconds since 1970; `random`: 10 bytes, of which 74 bits are used."""
    bits = int.from_bytes(random[:10], "big")
    high, low = bits >> 68 & 0xFFF, bits & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(now_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
