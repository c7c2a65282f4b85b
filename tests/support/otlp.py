"""Somebody who takes traces: OTLP over HTTP, read from the wire as its specification says."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

Attributes: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Got:
    """A span as it came over the wire; ids in hex, times in nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: list[tuple[str, Attributes]]
    error: str | None
    links: list[tuple[str, str]]
    is_client: bool
    resource: Attributes


@dataclass
class Receiver:
    """`url`: what `OTEL_EXPORTER_OTLP_ENDPOINT` is set to. `answer`: what comes next, None: everything is taken."""

    url: str = ""
    received: list[Got] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[list[Got]], web.Response | None] = lambda _spans: None
    hangs: bool = False
    paths: list[str] = field(default_factory=list)

    @property
    def spans(self) -> list[Got]:
        """All but those of the queue, which each run has."""
        return [span for span in self.received if span.name != "queue"]

    def of(self, run_id: Any) -> list[Got]:
        return [span for span in self.spans if span.trace_id == str(run_id).replace("-", "")]

    @property
    def trace_ids(self) -> set[str]:
        return {span.trace_id for span in self.spans}

    async def handle(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(600)
        body = await request.read()
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.bodies.append(body)
        spans = read(body, request.content_type)
        refused = self.answer(spans)
        if refused is not None:
            return refused
        self.received += spans
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


@asynccontextmanager
async def otlp_receiver(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert site._server is not None
    receiver.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield receiver
    finally:
        await runner.cleanup()


def read(body: bytes, content_type: str) -> list[Got]:
    request = ExportTraceServiceRequest()
    if content_type == "application/json":
        ParseDict(_with_bytes(json.loads(body)), request)
    else:
        assert content_type == "application/x-protobuf"
        request.ParseFromString(body)
    return [
        _got(span, values(of_resource.resource.attributes))
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def values(attributes: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for attribute in attributes:
        assert isinstance(attribute, KeyValue)
        assert attribute.key not in decoded, "a name is used once"
        decoded[attribute.key] = _value(attribute.value)
    return decoded


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    assert kind in ("string_value", "bool_value", "int_value", "double_value"), kind
    return getattr(value, kind)


def _got(span: ProtoSpan, resource: Attributes) -> Got:
    return Got(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        values(span.attributes),
        [(event.name, values(event.attributes)) for event in span.events],
        span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.kind == ProtoSpan.SPAN_KIND_CLIENT,
        resource,
    )


def _with_bytes(value: Any) -> Any:
    """OTLP's JSON has ids in hex where protobuf's has base64."""
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        name: base64.b64encode(bytes.fromhex(inner)).decode() if name in ids else _with_bytes(inner)
        for name, inner in value.items()
    }
