"""The route of webhooks. It takes no API key: senders prove themselves."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import PlainTextResponse

from flowyard.api.triggers import HookResult, HookResults
from flowyard.control.deliver import Delivered
from flowyard.control.listener import RunListener
from flowyard.control.submit import new_run_id
from flowyard.errors.requests import InvalidRequest, QueueFull, TooLarge, UnknownHook, WrongMethod
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import HookNotReady, NotMapped, TooManyDeliveries, TriggerPaused, Unverified
from flowyard.runs.run import Run
from flowyard.web.auth import OPEN
from flowyard.web.openapi import NamedRoute
from flowyard.web.problems import problem_of, problem_responses, request_id_of
from flowyard.web.requests import leave_to_run
from flowyard.web.wrong_keys import client_of
from flowyard.webhooks.acceptance import acceptance
from flowyard.webhooks.request import Answer, HookRequest
from flowyard_gateway.answers import answer
from flowyard_gateway.hooks.addresses import public_url
from flowyard_gateway.hooks.live import webhook_of
from flowyard_gateway.hooks.receiving import IncomingHook, Received, receive_hook
from flowyard_gateway.parts import GatewayParts, InjectedParts
from flowyard_gateway.submitting import ended, wait_for

HOOKS: Final = "/hooks/"

router = APIRouter(tags=["webhooks"], route_class=NamedRoute)


HookPath: TypeAlias = Annotated[str, Path(description="The path that the document names")]
_ERRORS: Final = problem_responses(
    UnknownHook,
    WrongMethod,
    Unverified,
    InvalidRequest,
    NotMapped,
    TooLarge,
    TooManyDeliveries,
    QueueFull,
    HookNotReady,
    TriggerPaused,
    Unavailable,
)


@router.post(
    HOOKS + "{path:path}",
    name="receive_webhook",
    summary="Receive a webhook",
    description=(
        "Starts a run, if a workflow has a trigger at this path. The sender is verified as the trigger says; no API key"
        " is needed. 202 once the run is stored; a copy is answered 200, and starts nothing. Some senders get the"
        " response that they need instead."
    ),
    status_code=202,
    response_model=HookResult | HookResults,
    responses={200: {"model": HookResult | HookResults, "description": "Nothing new was started"}, **_ERRORS},
    openapi_extra=OPEN,
)
async def receive(parts: InjectedParts, request: Request, path: HookPath) -> Response:
    return await respond(parts, request, path)


@router.get(
    HOOKS + "{path:path}",
    name="verify_webhook",
    summary="Tell a sender that its webhook is here",
    description="For Meta, which looks who is there before it sends anything.",
    response_class=PlainTextResponse,
    responses=_ERRORS,
    openapi_extra=OPEN,
)
async def verify(parts: InjectedParts, request: Request, path: HookPath) -> Response:
    return await respond(parts, request, path)


async def respond(parts: GatewayParts, request: Request, path: str) -> Response:
    """`path`: after HOOKS."""
    webhook = webhook_of(await parts.hooks.at(path))
    if request.method == "GET" and webhook.sender != "whatsapp":
        refused = problem_of(WrongMethod("GET", allowed="POST"), request_id_of(request))
        refused.headers["allow"] = "POST"
        return refused
    incoming = await _incoming(parts, request, path)
    run_id = new_run_id()
    if not webhook.wait_s:
        return await _answered(parts, request, await receive_hook(parts, incoming, run_id=run_id), None)
    # It listens before the run exists, so that nothing has to be read again. The first event is that it is queued.
    with parts.live.listen(run_id, after=1, only_end=True) as listener:
        return await _answered(parts, request, await receive_hook(parts, incoming, run_id=run_id), listener)


async def _answered(
    parts: GatewayParts, request: Request, received: Received, listener: RunListener | None
) -> Response:
    wait_s = received.webhook.wait_s
    leave_to_run(request.scope, waited_s=wait_s)
    if not wait_s or len(received.delivered) != 1:
        return _response(received)
    [(done, _)] = received.delivered
    if done.error is not None:
        raise done.error
    if done.run_id is None:
        return _response(received)
    if listener is not None and listener.run_id == done.run_id:
        run = await ended(parts, listener, wait_s)
    else:
        run = await wait_for(parts, done.run_id, wait_s)
    status = 202 if run.is_open else 200
    if done.outcome == "started":
        await parts.control.deliveries.set_status(done.id, status)
    return answer(_result(done, run), status, _location(run.id))


async def _incoming(parts: GatewayParts, request: Request, path: str) -> IncomingHook:
    """Reads the body, up to the limit of the webhook. Raises UnknownHook."""
    limit = await _body_limit(parts, path, int(request.headers.get("content-length", "0")))
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            break
    hook_request = HookRequest(
        request.method,
        public_url(request.scope, parts.settings.public_url, parts.settings.trusted_proxies),
        tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]),
        b"".join(pieces) if size <= limit else b"",
    )
    too_large = TooLarge("the webhook's body", limit=limit) if size > limit else None
    return IncomingHook(path, hook_request, client_of(request.scope, parts.settings.trusted_proxies), size, too_large)


async def _body_limit(parts: GatewayParts, path: str, announced: int) -> int:
    """Of the webhook, read again if a body seems to be too large: it may just have been changed."""
    live = await parts.hooks.at(path)
    limit = webhook_of(live).body_limit or parts.settings.body_limit
    if announced > limit:
        parts.hooks.forget(path)
        limit = webhook_of(await parts.hooks.at(path)).body_limit or parts.settings.body_limit
    return min(limit, parts.settings.body_limit)


def _response(received: Received) -> Response:
    if received.answer is not None:
        return _of(received.answer)
    payload = received.delivered[0][1] if received.delivered else None
    has_started = any(done.run_id is not None for done, _ in received.delivered)
    accepted = acceptance(received.webhook.sender, payload, has_started=has_started)
    if accepted is not None:
        return _of(accepted)
    results = [_result(done) for done, _ in received.delivered]
    status = 202 if any(done.outcome == "started" for done, _ in received.delivered) else 200
    if len(results) != 1:
        return answer(HookResults(deliveries=results), status)
    run_id = results[0].run_id
    return answer(results[0], status, _location(run_id) if run_id is not None else None)


def _of(given: Answer) -> Response:
    return Response(given.body, given.status, media_type=given.media_type)


def _result(done: Delivered, run: Run | None = None) -> HookResult:
    result = HookResult(delivery=done.id, outcome=done.outcome, run_id=done.run_id)
    return result.with_result(run) if run is not None else result


def _location(run_id: UUID) -> dict[str, str]:
    return {"location": f"/v1/runs/{run_id}"}
