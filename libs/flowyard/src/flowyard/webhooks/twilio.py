"""Twilio: https://www.twilio.com/docs/usage/webhooks/webhooks-security"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from urllib.parse import SplitResult, urlsplit

from flowyard.errors.requests import InvalidRequest
from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.payloads import form_values, is_form, read_id, read_payload, usable_id
from flowyard.webhooks.request import HookDelivery, HookRequest
from flowyard.webhooks.signatures import as_bytes, require_match, require_texts

_SIGNATURE: Final = "x-twilio-signature"
_BODY_DIGEST: Final = "bodySHA256"
_BASE64: Final = re.compile("(?:[A-Za-z0-9+/]{27}|[A-Za-z0-9+/]{43})=")
_SHA1_LENGTH: Final = 28
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Twilio:
    """`secrets`: auth tokens (HMAC-SHA1), or shared keys (HMAC-SHA256). Signed are the URL and the fields of the form.

    The id is that of a message, with its status if the request reports one; else that of the request, if it has one:
    a call sends many.
    """

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)

    def verify(self, request: HookRequest, now: datetime) -> None:
        signature = request.required(_SIGNATURE, "missing_signature")
        if not _BASE64.fullmatch(signature):
            raise Unverified("malformed_signature")
        # A body that was taken away has the digest of the one that was there still in its URL.
        if not is_form(request) and (request.body or request.parameter(_BODY_DIGEST) is not None):
            _require_digest(request)
        try:
            fields = _signed_fields(request)
        except InvalidRequest:
            raise Unverified("malformed_body") from None
        contents = [as_bytes(url + fields) for url in _spellings(request.url)]
        algorithm = "sha1" if len(signature) == _SHA1_LENGTH else "sha256"
        valid = [_digest(secret, content, algorithm) for secret in self.secrets for content in contents]
        require_match([signature], valid)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        payload = read_payload(request)
        message, status = read_id(payload, "MessageSid", "SmsSid"), read_id(payload, "MessageStatus")
        if message is None:
            return (HookDelivery(usable_id(request.header("i-twilio-idempotency-token")), payload),)
        return (HookDelivery(message if status is None else f"{message}:{status}", payload),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """By HMAC-SHA1, as most are. A body that is no form is signed by its digest in the URL, which changes for it.

    The id isn't used: those of Twilio are in the body.
    """
    if request.body and not is_form(request):
        digest = f"{_BODY_DIGEST}={hashlib.sha256(request.body).hexdigest()}"
        request = replace(request, url=f"{request.url}{'&' if urlsplit(request.url).query else '?'}{digest}")
    content = as_bytes(request.url + _signed_fields(request))
    return request.with_headers((_SIGNATURE, _digest(secrets[0], content, "sha1")))


def _digest(secret: str, content: bytes, algorithm: str) -> str:
    return base64.b64encode(hmac.digest(as_bytes(secret), content, algorithm)).decode()


def _signed_fields(request: HookRequest) -> str:
    """What follows the URL in what is signed: each name and value of the form, sorted, and none of them twice."""
    fields = form_values(request) if is_form(request) else {}
    return "".join(name + value for name in sorted(fields) for value in sorted(set(fields[name])))


def _require_digest(request: HookRequest) -> None:
    """The signature covers the URL, and that the body."""
    digest = request.parameter(_BODY_DIGEST) or ""
    if not hmac.compare_digest(as_bytes(digest), hashlib.sha256(request.body).hexdigest().encode()):
        raise Unverified("wrong_body_digest")


def _spellings(url: str) -> Iterator[str]:
    """The URL with its port and without it: Twilio signs either."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unverified("malformed_url") from None
    yield url
    if port is not None:
        yield _at(parts, parts.netloc.removesuffix(f":{port}"))
    elif parts.scheme in _PORTS:
        yield _at(parts, f"{parts.netloc}:{_PORTS[parts.scheme]}")


def _at(parts: SplitResult, netloc: str) -> str:
    return parts._replace(netloc=netloc).geturl()
