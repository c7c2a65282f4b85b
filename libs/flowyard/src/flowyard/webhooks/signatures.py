"""What most schemes share: HMAC-SHA256, comparisons in constant time, and five minutes of tolerance."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from flowyard.errors.webhooks import UnusableWebhookSecret, Unverified

TOLERANCE: Final = timedelta(minutes=5)
"""By how much the time of a request may differ from ours, before and after."""
HEX_SHA256: Final = re.compile("[0-9a-f]{64}")
_SECONDS: Final = re.compile("[0-9]{1,12}")


def require_texts(secrets: Sequence[str]) -> None:
    """Raises UnusableWebhookSecret if there is none, or one with which everybody could sign."""
    if not secrets or any(is_empty(as_bytes(secret)) for secret in secrets):
        raise UnusableWebhookSecret("a text that isn't empty")


def is_empty(key: bytes) -> bool:
    """HMAC fills each key up with zeros."""
    return not key.strip(b"\0")


def hmac_hex(secret: str, content: bytes) -> str:
    return hmac.digest(as_bytes(secret), content, hashlib.sha256).hex()


def hex_after(prefix: str, text: str) -> str:
    """The 64 hexadecimal digits of `<prefix><digits>`. Only lower case: one signature has one spelling."""
    digits = text.removeprefix(prefix)
    if digits == text or not HEX_SHA256.fullmatch(digits):
        raise Unverified("malformed_signature")
    return digits


def require_match(given: Sequence[str], valid: Sequence[str]) -> None:
    """One of the given signatures must be valid. Texts in ASCII. The time doesn't depend on where they differ."""
    if not any(hmac.compare_digest(signature, right) for signature in given for right in valid):
        raise Unverified("wrong_signature")


def require_token(given: str, tokens: Iterable[str]) -> None:
    """As `require_match`, for secrets that are sent as they are. The time doesn't depend on their length, either."""
    digest = hashlib.sha256(as_bytes(given)).digest()
    if not any(hmac.compare_digest(digest, hashlib.sha256(as_bytes(token)).digest()) for token in tokens):
        raise Unverified("wrong_token")


def read_seconds(text: str) -> int:
    """A time in seconds since 1970."""
    if not _SECONDS.fullmatch(text):
        raise Unverified("malformed_timestamp")
    return int(text)


def require_recent(seconds: int, now: datetime) -> None:
    """Call it after the signature was verified: then the reason says that the sender has signed that time."""
    age = now.timestamp() - seconds
    if age > TOLERANCE.total_seconds():
        raise Unverified("too_old")
    if age < -TOLERANCE.total_seconds():
        raise Unverified("too_new")


def seconds_of(now: datetime) -> str:
    return str(int(now.timestamp()))


def as_bytes(text: str) -> bytes:
    """Whatever a header contains: it has to be compared, not understood."""
    return text.encode(errors="surrogatepass")
