"""Spans as OTLP has them (https://opentelemetry.io/docs/specs/otlp), in protobuf or JSON, and their way over HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, TypeAlias

from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from flowyard.errors import ExportRefused
from flowyard.export.addresses import OtlpAddress, Protocol
from flowyard.export.sending import Door
from flowyard.export.spans import Span, Value, run_span_id, spans_of, trace_id
from flowyard.export.text import shortened
from flowyard.export.told import Told

View: TypeAlias = Callable[[Span], Mapping[str, Value]]

SCOPE: Final = "flowyard"
MOST_SPANS: Final = 500
"""In one request."""
MOST_BYTES: Final = 2_000_000
"""Of what a request's spans hold in text; one span alone may be larger."""
_MOST_MESSAGE: Final = 2000
_TYPES: Final[Mapping[Protocol, str]] = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
# OTLP's JSON writes them in hex, protobuf's in base64.
_IDS: Final = ("traceId", "spanId", "parentSpanId")


class OtlpTarget:
    """Any system that takes OTLP over HTTP."""

    def __init__(self, address: OtlpAddress, resource: Mapping[str, str], door: Door) -> None:
        self.name = door.name
        self._address = address
        self._resource = resource
        self._door = door

    async def send(self, told: Told, *, again: bool) -> None:
        """Raises TargetAway, ExportRefused. Sent `again`, spans have the ids that they had."""
        spans = await asyncio.to_thread(spans_of, told)
        await send_spans(self._door, self._address, told, spans, resource=self._resource, view=plain_view)


async def send_spans(
    door: Door,
    address: OtlpAddress,
    told: Told,
    spans: Sequence[Span],
    *,
    resource: Mapping[str, str],
    view: View,
) -> None:
    """In as few requests as reason allows, the run's own span in the first. Raises TargetAway, ExportRefused."""
    headers = {**address.headers, "content-type": _TYPES[address.protocol]}
    if address.compressed:
        headers["content-encoding"] = "gzip"
    for part in parts_of(spans):
        body = await asyncio.to_thread(_body, told, part, resource, view, address)
        answer = await door.post(address.url, body, headers)
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise door.stranger()
        _check(door, answer.content, address.protocol)


def plain_view(span: Span) -> Mapping[str, Value]:
    """What every system is told of a span: its attributes, and what went in and came out."""
    given = {"flowyard.inputs": span.inputs, "flowyard.outputs": span.outputs} if span.role != "call" else {}
    return {**span.attributes, **{name: text for name, text in given.items() if text is not None}}


def parts_of(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    part: list[Span] = []
    size = 0
    for span in spans:
        weight = len(span.inputs or "") + len(span.outputs or "")
        if part and (len(part) == MOST_SPANS or size + weight > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(span)
        size += weight
    yield part


def request_of(told: Told, spans: Sequence[Span], resource: Mapping[str, str], view: View) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(_attributes(resource))
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name, of_scope.scope.version = SCOPE, version("flowyard")
    of_scope.spans.extend(_span(told, span, view) for span in spans)
    return request


def _body(told: Told, spans: Sequence[Span], resource: Mapping[str, str], view: View, address: OtlpAddress) -> bytes:
    request = request_of(told, spans, resource, view)
    if address.protocol == "http/protobuf":
        body = request.SerializeToString()
    else:
        body = json.dumps(_in_hex(MessageToDict(request, use_integers_for_enums=True))).encode()
    return gzip.compress(body, 5) if address.compressed else body


def _span(told: Told, span: Span, view: View) -> proto.Span:
    found = proto.Span(
        trace_id=bytes.fromhex(trace_id(told.run.id)),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=span.name,
        kind=proto.Span.SPAN_KIND_CLIENT if span.role == "call" else proto.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(view(span)),
    )
    for event in span.events:
        found.events.add(time_unix_nano=event.at_ns, name=event.name, attributes=_attributes(event.attributes))
    for run_id in span.linked_runs:
        found.links.add(trace_id=bytes.fromhex(trace_id(run_id)), span_id=bytes.fromhex(run_span_id(run_id)))
    if span.error is not None:
        found.status.code = proto.Status.STATUS_CODE_ERROR
        found.status.message = shortened(span.error, most=_MOST_MESSAGE)
    else:
        found.status.code = proto.Status.STATUS_CODE_OK
    return found


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any(value)) for name, value in values.items()]


def _any(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            # Larger ones have no place in OTLP.
            return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(string_value=str(value))
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)


def _in_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_hex(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: base64.b64decode(inner).hex() if name in _IDS else _in_hex(inner) for name, inner in value.items()}


def _check(door: Door, content: bytes, protocol: Protocol) -> None:
    """A system may say yes and mean: all but these. Raises ExportRefused."""
    answer = ExportTraceServiceResponse()
    try:
        if protocol == "http/protobuf":
            answer.ParseFromString(content)
        elif content.strip():
            Parse(content, answer, ignore_unknown_fields=True)
    except (DecodeError, ParseError):
        return  # it said yes
    partly = answer.partial_success
    if partly.rejected_spans:
        raise ExportRefused(door.name, f"{partly.rejected_spans} spans: {door.shown(partly.error_message)}")
