"""Sends spans by OTLP over HTTP, in protobuf or JSON (https://opentelemetry.io/docs/specs/otlp)."""

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
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from flowyard.export.addresses import OtlpAddress, Protocol
from flowyard.export.client import ExportClient, ExportRefused
from flowyard.export.finished_run import FinishedRun
from flowyard.export.spans import Span, Value, run_span_id, spans_of, trace_id
from flowyard.export.text import shortened

AttributesOf: TypeAlias = Callable[[Span], Mapping[str, Value]]

SCOPE: Final = "flowyard"
MAX_SPANS: Final = 500
"""The most spans in one request."""
MAX_BYTES: Final = 2_000_000
"""The most text in one request's spans; a single span may be larger."""
_MAX_MESSAGE: Final = 2000
_TYPES: Final[Mapping[Protocol, str]] = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
# OTLP's JSON has these in hex; protobuf's JSON has them in base64.
_IDS: Final = ("traceId", "spanId", "parentSpanId")


class OtlpTarget:
    """Any system that accepts OTLP over HTTP."""

    def __init__(self, address: OtlpAddress, resource: Mapping[str, str], client: ExportClient) -> None:
        self.name = client.name
        self._address = address
        self._resource = resource
        self._client = client

    async def send(self, finished: FinishedRun, *, again: bool) -> None:
        """Raises TargetUnavailable, ExportRefused. `again` changes nothing: the spans have the same ids."""
        spans = await asyncio.to_thread(spans_of, finished)
        await send_spans(self._client, self._address, finished, spans, resource=self._resource, view=plain_view)


async def send_spans(
    client: ExportClient,
    address: OtlpAddress,
    finished: FinishedRun,
    spans: Sequence[Span],
    *,
    resource: Mapping[str, str],
    view: AttributesOf,
) -> None:
    """Sends the spans in batches, the run's own span in the first. Raises TargetUnavailable, ExportRefused."""
    headers = {**address.headers, "content-type": _TYPES[address.protocol]}
    if address.compressed:
        headers["content-encoding"] = "gzip"
    for batch in batches_of(spans):
        body = await asyncio.to_thread(_body, finished, batch, resource, view, address)
        response = await client.post(address.url, body, headers)
        if response.headers.get("content-type", "").startswith("text/html"):
            raise client.wrong_server()
        _check(client, response.content, address.protocol)


def plain_view(span: Span) -> Mapping[str, Value]:
    """A span's attributes, and its inputs and outputs, for any system."""
    given = {"flowyard.inputs": span.inputs, "flowyard.outputs": span.outputs} if span.role != "call" else {}
    return {**span.attributes, **{name: text for name, text in given.items() if text is not None}}


def batches_of(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    batch: list[Span] = []
    size = 0
    for span in spans:
        weight = len(span.inputs or "") + len(span.outputs or "")
        if batch and (len(batch) == MAX_SPANS or size + weight > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += weight
    yield batch


def request_of(
    finished: FinishedRun, spans: Sequence[Span], resource: Mapping[str, str], view: AttributesOf
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(_attributes(resource))
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name, of_scope.scope.version = SCOPE, version("flowyard")
    of_scope.spans.extend(_span(finished, span, view) for span in spans)
    return request


def _body(
    finished: FinishedRun, spans: Sequence[Span], resource: Mapping[str, str], view: AttributesOf, address: OtlpAddress
) -> bytes:
    request = request_of(finished, spans, resource, view)
    if address.protocol == "http/protobuf":
        body = request.SerializeToString()
    else:
        body = json.dumps(_in_hex(MessageToDict(request, use_integers_for_enums=True))).encode()
    return gzip.compress(body, 5) if address.compressed else body


def _span(finished: FinishedRun, span: Span, view: AttributesOf) -> proto.Span:
    proto_span = proto.Span(
        trace_id=bytes.fromhex(trace_id(finished.run.id)),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=span.name,
        kind=proto.Span.SPAN_KIND_CLIENT if span.role == "call" else proto.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(view(span)),
    )
    for event in span.events:
        proto_span.events.add(time_unix_nano=event.at_ns, name=event.name, attributes=_attributes(event.attributes))
    for run_id in span.linked_runs:
        proto_span.links.add(trace_id=bytes.fromhex(trace_id(run_id)), span_id=bytes.fromhex(run_span_id(run_id)))
    if span.error is not None:
        proto_span.status.code = proto.Status.STATUS_CODE_ERROR
        proto_span.status.message = shortened(span.error, max_length=_MAX_MESSAGE)
    else:
        proto_span.status.code = proto.Status.STATUS_CODE_OK
    return proto_span


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any(value)) for name, value in values.items()]


def _any(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            # OTLP's integers have 64 bits.
            return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(string_value=str(value))
        case float():
            return AnyValue(double_value=value)
        case tuple():
            return AnyValue(array_value=ArrayValue(values=map(_any, value)))
        case _:
            return AnyValue(string_value=value)


def _in_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_hex(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: base64.b64decode(inner).hex() if name in _IDS else _in_hex(inner) for name, inner in value.items()}


def _check(client: ExportClient, content: bytes, protocol: Protocol) -> None:
    """Raises ExportRefused for a successful response that rejects some of the spans."""
    response = ExportTraceServiceResponse()
    try:
        if protocol == "http/protobuf":
            response.ParseFromString(content)
        elif content.strip():
            Parse(content, response, ignore_unknown_fields=True)
    except (DecodeError, ParseError):
        return  # the HTTP status was a success
    partly = response.partial_success
    if partly.rejected_spans:
        raise ExportRefused(client.name, f"{partly.rejected_spans} spans: {client.excerpt(partly.error_message)}")
