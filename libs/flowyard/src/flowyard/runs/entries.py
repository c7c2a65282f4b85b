"""Events as they are stored and sent: a type and data that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

from flowyard.runs import events
from flowyard.runs.events import Event, Failure, StepId, Token
from flowyard.runs.run import Entry

ENDINGS: Final = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
"""The types of the events that end a run. Nothing follows them unless the run is retried."""

CALL_FACTS: Final = (
    *("provider", "model", "duration_s", "first_token_s"),
    *("tokens_in", "tokens_out", "tokens_cached", "cost_usd", "retries"),
)
_TEXTS: Final = ("outputs", "messages", "reply", "reasoning")
_OfRun: TypeAlias = (
    events.RunQueued | events.RunForked | events.RunClaimed | events.RunWaiting | events.RunStarted | events.RunFinished
)


class StoredEvent(NamedTuple):
    """An event of a run, and the entry that it is stored as."""

    entry: Entry
    event: Event

    @property
    def at(self) -> datetime:
        return self.entry.at


def stored(seq: int, at: datetime, event: Event) -> StoredEvent:
    """An event that is to be stored. `seq`: its number in the run, from 1."""
    return StoredEvent(Entry(seq, at, *encoded(event)), event)


def decode_all(entries: Iterable[Entry]) -> Iterator[StoredEvent]:
    """In order, without those of types that this version doesn't know."""
    for entry in entries:
        event = decoded(entry.type, entry.data)
        if event is not None:
            yield StoredEvent(entry, event)


def texts_in(entry: Entry) -> list[Any]:
    """The outputs of an entry, and what was said in a call: they may be large."""
    return [entry.data[name] for name in _TEXTS if name in entry.data]


def without_texts(entry: Entry) -> Entry:
    """The same entry with empty outputs, and without what was said in a call."""
    if not texts_in(entry):
        return entry
    data = {name: value for name, value in entry.data.items() if name not in _TEXTS}
    return entry._replace(data={**data, "outputs": {}} if "outputs" in entry.data else data)


def encoded(event: Event) -> tuple[str, dict[str, Any]]:
    """The type and the data of an event.

    What is None or has its usual value is left out, except for costs and tokens: there None means unknown.
    """
    match event:
        case (
            events.RunQueued()
            | events.RunForked()
            | events.RunClaimed()
            | events.RunWaiting()
            | events.RunStarted()
            | events.RunFinished()
        ):
            return _encoded_of_run(event)
        case events.StepStarted():
            return "step.started", {**_step(event.step), **_start(event)}
        case Token():
            return "token", {**_step(event.step), "text": event.text, "call": event.call, "offset": event.offset}
        case events.ModelWaiting():
            waits = {"provider": event.provider, "model": event.model, "limit": event.limit}
            return "model.waiting", {**_step(event.step), **waits, "rate_limited": event.rate_limited}
        case events.ModelReserved():
            model = {"provider": event.provider, "model": event.model}
            return "model.reserved", {**_step(event.step), **model, "tokens": event.tokens, "usd": _cost(event.usd)}
        case events.ModelCalled():
            return "model.called", {**_step(event.step), **_call(event)}
        case events.ToolCalled():
            return "tool.called", {**_step(event.step), **_tool_call(event)}
        case events.ToolProgressed():
            place = {"tool": event.tool, "question": event.question, "call": event.call}
            so_far = {"done": event.done, **_known({"total": event.total, "text": event.text})}
            return "tool.progressed", {**_step(event.step), **place, **so_far}
        case events.CodePrinted():
            return "code.printed", {**_step(event.step), "text": event.text}
        case events.RetryScheduled():
            retry = {"attempt": event.attempt, "delay_s": round(event.delay_s, 3), "error": failure_data(event.error)}
            return "step.retrying", {**_step(event.step), **retry}
        case events.StepFinished():
            return "step.finished", {**_step(event.step), **_sums(event)}
        case events.StepFailed():
            failed = {"duration_s": seconds(event.duration_s), "error": failure_data(event.error)}
            return "step.failed", {**_step(event.step), **failed, "handled": event.handled}
        case events.RouteTaken():
            chosen = {"condition": event.condition} if event.condition is not None else {}
            return "route.taken", {"node": event.node, "to": event.to, **chosen}
        case events.LoopTurned():
            turn = {"turn": event.turn, "max_iterations": event.max_iterations}
            return "loop.turned", {"node": event.node, **turn, "to": event.to, "outcome": event.outcome}
        case _:
            assert_never(event)


def _encoded_of_run(event: _OfRun) -> tuple[str, dict[str, Any]]:
    match event:
        case events.RunQueued():
            # The first entry of a run is written by SQL, as `{}`.
            reason = event.reason if event.reason != "submitted" else None
            return "run.queued", _known({"reason": reason, "attempt": event.attempt})
        case events.RunForked():
            # Written by SQL, as this is.
            return "run.forked", {**asdict(event), "leaves_at": list(event.leaves_at)}
        case events.RunClaimed():
            return "run.claimed", {"attempt": event.attempt, "executor": event.executor}
        case events.RunWaiting():
            wait = {"reason": event.reason, "seconds": round(event.seconds, 3)}
            return "run.waiting", {**wait, **_known({"node": event.node})}
        case events.RunStarted():
            return "run.started", asdict(event)
        case events.RunFinished():
            end = {"duration_s": seconds(event.duration_s), "outputs": event.outputs}
            error = failure_data(event.error) if event.error is not None else None
            return f"run.{event.status}", {**end, **_known({"error": error, "reason": event.reason})}
        case _:
            assert_never(event)


def decoded(kind: str, data: Mapping[str, Any]) -> Event | None:
    """The event of a stored entry; None for a type that this version doesn't know.

    Entries of older versions are read, too. A reason that this version doesn't know is kept as it is.
    """
    match kind:
        case "step.started":
            called = data.get("provider"), data.get("model")
            return events.StepStarted(_step_id(data), data.get("commit_s", 0.0), *called, data.get("reserves", False))
        case "token":
            return Token(_step_id(data), data["text"], data["call"], data["offset"])
        case "model.waiting":
            limit = data["limit"], data.get("rate_limited", False)
            return events.ModelWaiting(_step_id(data), data["provider"], data["model"], *limit)
        case "model.reserved":
            reserved = data["tokens"], _decimal(data["usd"])
            return events.ModelReserved(_step_id(data), data["provider"], data["model"], *reserved)
        case "model.called":
            return _model_called(data)
        case "tool.called":
            place = data.get("part", 0), data.get("question", 0), data.get("call", 0)
            error = decode_failure(data["error"]) if data.get("error") else None
            tool = data["tool"], *place, data["duration_s"]
            return events.ToolCalled(_step_id(data), *tool, error, data.get("retries", 0))
        case "tool.progressed":
            so_far = data["done"], data.get("total"), data.get("text")
            return events.ToolProgressed(_step_id(data), data["tool"], data["question"], data["call"], *so_far)
        case "code.printed":
            return events.CodePrinted(_step_id(data), data["text"])
        case "step.retrying":
            return events.RetryScheduled(
                _step_id(data), data["attempt"], data["delay_s"], decode_failure(data["error"])
            )
        case "step.finished":
            sums = data["calls"], data["tokens_in"], data["tokens_out"], _decimal(data["cost_usd"])
            return events.StepFinished(_step_id(data), data["duration_s"], data["outputs"], *sums)
        case "step.failed":
            return events.StepFailed(_step_id(data), data["duration_s"], decode_failure(data["error"]), data["handled"])
        case "route.taken":
            return events.RouteTaken(data["node"], data["to"], data.get("condition"))
        case "loop.turned":
            turn = data["turn"], data["max_iterations"], data["to"], data["outcome"]
            return events.LoopTurned(data["node"], *turn)
        case _:
            return _decoded_of_run(kind, data)


def _decoded_of_run(kind: str, data: Mapping[str, Any]) -> Event | None:
    match kind:
        case "run.queued":
            return events.RunQueued(data.get("reason", "submitted"), data.get("attempt"))
        case "run.forked":
            return events.RunForked(data["origin"], data["kept"], tuple(data["leaves_at"]))
        case "run.started" if "digest" in data:
            return events.RunStarted(data["run_id"], data["workflow"], data["digest"])
        case "run.claimed" | "run.started":
            # Older versions stored a claim as `run.started`.
            return events.RunClaimed(data.get("attempt", 1), data.get("executor", ""))
        case "run.waiting":
            return events.RunWaiting(data.get("seconds", 0.0), data.get("reason", "retry"), data.get("node"))
        case "run.succeeded" | "run.failed" | "run.cancelled":
            error = decode_failure(data["error"]) if data.get("error") else None
            status: Any = kind.removeprefix("run.")
            end = data.get("duration_s", 0.0), data.get("outputs") or {}
            return events.RunFinished(status, *end, error, data.get("reason"))
        case _:
            return None


def failure_data(failure: Failure) -> dict[str, Any]:
    """The failure as JSON holds it."""
    known = {"code": failure.code, "message": failure.message, "node": failure.node, "reply": failure.reply}
    return _known(known)


def decode_failure(data: Mapping[str, Any]) -> Failure:
    """The reverse of `failure_data`."""
    return Failure(data["code"], data["message"], data.get("node"), data.get("reply"))


def _step(step: StepId) -> dict[str, Any]:
    at = {"node": step.node, "visit": step.visit}
    return at if step.item is None else {**at, "item": step.item}


def _step_id(data: Mapping[str, Any]) -> StepId:
    return StepId(data["node"], data["visit"], data.get("item"))


def _known(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


def _start(event: events.StepStarted) -> dict[str, Any]:
    commit_s, reserves = seconds(event.commit_s) or None, event.reserves or None
    return _known({"commit_s": commit_s, "provider": event.provider, "model": event.model, "reserves": reserves})


def seconds(duration: float) -> float:
    """As entries have it: to the microsecond."""
    return round(duration, 6)


def _cost(cost: Decimal | None) -> str | None:
    return None if cost is None else str(cost)


def _decimal(cost: str | None) -> Decimal | None:
    return None if cost is None else Decimal(cost)


def _sums(event: events.StepFinished) -> dict[str, Any]:
    return {
        "duration_s": seconds(event.duration_s),
        "outputs": event.outputs,
        "calls": event.calls,
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "cost_usd": _cost(event.cost_usd),
    }


def _call(event: events.ModelCalled) -> dict[str, Any]:
    known = {
        "error": failure_data(event.error) if event.error is not None else None,
        "served_by": event.served_by,
        "reply_id": event.reply_id,
        "finish_reason": event.finish_reason,
        "streamed": event.streamed or None,
        "asks_json": event.asks_json,
    }
    return {**call_facts({name: getattr(event, name) for name in CALL_FACTS}), **_known(known)}


def _tool_call(event: events.ToolCalled) -> dict[str, Any]:
    place = {"part": event.part, "question": event.question or None, "call": event.call or None}
    error = failure_data(event.error) if event.error is not None else None
    known = _known({**place, "error": error, "retries": event.retries or None})
    return {"tool": event.tool, "duration_s": seconds(event.duration_s), **known}


def call_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the data of a `model.called`, what a row of the ledger has, too. `facts`: CALL_FACTS of a ModelCalled."""
    first_token_s = facts["first_token_s"]
    known = {
        "first_token_s": seconds(first_token_s) if first_token_s is not None else None,
        "tokens_cached": facts["tokens_cached"],
        "retries": facts["retries"] or None,
    }
    return {
        **{name: facts[name] for name in ("provider", "model")},
        "duration_s": seconds(facts["duration_s"]),
        **{name: facts[name] for name in ("tokens_in", "tokens_out")},
        "cost_usd": _cost(facts["cost_usd"]),
        **_known(known),
    }


def _model_called(data: Mapping[str, Any]) -> events.ModelCalled:
    error = decode_failure(data["error"]) if data.get("error") else None
    messages = tuple(data["messages"]) if data.get("messages") is not None else None
    return events.ModelCalled(
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
        data.get("reasoning"),
        data.get("served_by"),
        data.get("reply_id"),
        data.get("finish_reason"),
        data.get("streamed", False),
        data.get("asks_json"),
    )
