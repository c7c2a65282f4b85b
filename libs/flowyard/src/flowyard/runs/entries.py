"""Events as they are stored and sent: a type and data that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final, assert_never

from flowyard.runs.events import (
    Event,
    Failure,
    LoopTurned,
    ModelCalled,
    ModelReserved,
    RetryScheduled,
    RouteTaken,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)

ENDINGS: Final = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
"""After one of these, nothing happens to a run unless it is retried."""


def encoded(event: Event) -> tuple[str, dict[str, Any]]:
    """What is None is left out, but for costs and tokens: there None means unknown."""
    match event:
        case RunStarted():
            return "run.started", {"workflow": event.workflow, "digest": event.digest}
        case StepStarted():
            waited = {"commit_s": _seconds(event.commit_s)} if event.commit_s else {}
            return "step.started", {**_step(event.step), **waited}
        case Token():
            return "token", {**_step(event.step), "text": event.text}
        case ModelReserved():
            asked = {"provider": event.provider, "model": event.model}
            return "model.reserved", {**_step(event.step), **asked, "tokens": event.tokens, "usd": _cost(event.usd)}
        case ModelCalled():
            return "model.called", {**_step(event.step), **_call(event)}
        case RetryScheduled():
            told = {"attempt": event.attempt, "delay_s": round(event.delay_s, 3), "error": failure_data(event.error)}
            return "step.retrying", {**_step(event.step), **told}
        case StepFinished():
            return "step.finished", {**_step(event.step), **_sums(event)}
        case StepFailed():
            told = {"duration_s": _seconds(event.duration_s), "error": failure_data(event.error)}
            return "step.failed", {**_step(event.step), **told, "handled": event.handled}
        case RouteTaken():
            chosen = {"condition": event.condition} if event.condition is not None else {}
            return "route.taken", {"node": event.node, "to": event.to, **chosen}
        case LoopTurned():
            return "loop.turned", asdict(event)
        case RunFinished():
            ending = {"duration_s": _seconds(event.duration_s), "outputs": dict(event.outputs)}
            if event.error is not None:
                ending["error"] = failure_data(event.error)
            return f"run.{event.status}", ending
        case _:
            assert_never(event)


def decoded(kind: str, data: Mapping[str, Any], *, run_id: str = "") -> Event | None:
    """The event that an entry tells of; None for types that no executor emits: `run.queued` and the like."""
    match kind:
        case "run.started":
            return RunStarted(run_id, data.get("workflow", ""), data.get("digest", ""), {})
        case "step.started":
            return StepStarted(_step_id(data), data.get("commit_s", 0.0))
        case "token":
            return Token(_step_id(data), data["text"])
        case "model.reserved":
            reserved = data["tokens"], _decimal(data["usd"])
            return ModelReserved(_step_id(data), data["provider"], data["model"], *reserved)
        case "model.called":
            return _model_called(data)
        case "step.retrying":
            return RetryScheduled(_step_id(data), data["attempt"], data["delay_s"], failure_of(data["error"]))
        case "step.finished":
            sums = data["calls"], data["tokens_in"], data["tokens_out"], _decimal(data["cost_usd"])
            return StepFinished(_step_id(data), data["duration_s"], data["outputs"], *sums)
        case "step.failed":
            return StepFailed(_step_id(data), data["duration_s"], failure_of(data["error"]), data["handled"])
        case "route.taken":
            return RouteTaken(data["node"], data["to"], data.get("condition"))
        case "loop.turned":
            turn = data["turn"], data["max_iterations"], data["to"], data["outcome"]
            return LoopTurned(data["node"], *turn)
        case "run.succeeded" | "run.failed" | "run.cancelled":
            error = failure_of(data["error"]) if data.get("error") else None
            status: Any = kind.removeprefix("run.")
            return RunFinished(status, data.get("duration_s", 0.0), data.get("outputs") or {}, error)
        case _:
            return None


def failure_data(failure: Failure) -> dict[str, Any]:
    return {name: value for name, value in asdict(failure).items() if value is not None}


def failure_of(data: Mapping[str, Any]) -> Failure:
    return Failure(data["code"], data["message"], data.get("node"), data.get("reply"))


def _step(step: StepId) -> dict[str, Any]:
    at = {"node": step.node, "visit": step.visit}
    return at if step.item is None else {**at, "item": step.item}


def _step_id(data: Mapping[str, Any]) -> StepId:
    return StepId(data["node"], data["visit"], data.get("item"))


def _seconds(duration: float) -> float:
    return round(duration, 6)


def _cost(cost: Decimal | None) -> str | None:
    return None if cost is None else str(cost)


def _decimal(cost: str | None) -> Decimal | None:
    return None if cost is None else Decimal(cost)


def _sums(event: StepFinished) -> dict[str, Any]:
    return {
        "duration_s": _seconds(event.duration_s),
        "outputs": dict(event.outputs),
        "calls": event.calls,
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "cost_usd": _cost(event.cost_usd),
    }


def _call(event: ModelCalled) -> dict[str, Any]:
    told: dict[str, Any] = {
        "provider": event.provider,
        "model": event.model,
        "duration_s": _seconds(event.duration_s),
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "cost_usd": _cost(event.cost_usd),
    }
    if event.first_token_s is not None:
        told["first_token_s"] = _seconds(event.first_token_s)
    if event.tokens_cached is not None:
        told["tokens_cached"] = event.tokens_cached
    if event.error is not None:
        told["error"] = failure_data(event.error)
    if event.retries:
        told["retries"] = event.retries
    if event.messages is not None:
        told["messages"] = [dict(message) for message in event.messages]
    if event.reply is not None:
        told["reply"] = event.reply
    return told


def _model_called(data: Mapping[str, Any]) -> ModelCalled:
    error = failure_of(data["error"]) if data.get("error") else None
    messages = tuple(data["messages"]) if data.get("messages") is not None else None
    return ModelCalled(
        _step_id(data),
        data["provider"],
        data["model"],
        data["duration_s"],
        data.get("first_token_s"),
        data["tokens_in"],
        data["tokens_out"],
        data.get("tokens_cached"),
        _decimal(data["cost_usd"]),
        error,
        messages,
        data.get("retries", 0),
        data.get("reply"),
    )
