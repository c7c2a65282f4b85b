"""Errors of steps: models, replies, templates, time limits, budgets. The whole tree is drawn in `flowyard.errors`."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from flowyard.errors.base import FlowyardError

Cost: TypeAlias = Decimal | int
"""US dollars, or a number of tokens or calls."""
_WHERE: Final = " (on a stack, in the environment of its executors)"


class MissingApiKey(FlowyardError, code="missing_api_key", status=422, title="A model's API key is missing"):
    """The environment variable with a model's API key isn't set."""

    def __init__(self, *, provider: str, model: str, variable: str) -> None:
        self.variable = variable
        super().__init__(f"{provider}/{model} needs an API key: set the environment variable {variable}{_WHERE}")


class InvalidApiKey(MissingApiKey, code="invalid_api_key", title="A model's API key can't be used"):
    """The environment variable of a model's API key holds no valid key. `why`: without the value."""

    def __init__(self, *, provider: str, model: str, variable: str, why: str) -> None:
        self.variable = variable
        FlowyardError.__init__(
            self, f"{provider}/{model}: the environment variable {variable} {why}: it can't be the API key{_WHERE}"
        )


class VariableNotAllowed(MissingApiKey, code="variable_not_allowed", title="A document may not name this variable"):
    """A document names an environment variable that it may not read. `allowed`: a setting that allows it."""

    def __init__(self, *, provider: str, model: str, variable: str, allowed: str) -> None:
        self.variable = variable
        hint = f"name another, or set FLOWYARD_DOCUMENT_VARIABLES={allowed}"
        FlowyardError.__init__(self, f"{provider}/{model}: documents may not name the variable {variable}: {hint}")


class ModelNotInstalled(
    FlowyardError, code="model_not_installed", status=422, title="A model's package isn't installed"
):
    """A provider needs a package that isn't installed."""

    def __init__(self, *, provider: str, package: str, install: str) -> None:
        instead = ", or name another model in the document's config.llm"
        super().__init__(
            f"provider '{provider}' needs the package {package}, which isn't installed: {install}{instead}"
        )


class StepError(FlowyardError, code="step_error", title="A step failed"):
    """A step failed. `code` is the class of error that `retry.on` names."""


class ModelError(StepError, code="provider_error", status=502, title="A model call failed"):
    """A model call failed.

    `retry_after`: how many seconds the provider wants the caller to wait. `answered`: the HTTP status of its answer;
    None: there was none, or it was no error's.
    """

    def __init__(
        self, detail: str, *, provider: str, model: str, retry_after: float | None = None, answered: int | None = None
    ) -> None:
        self.detail = detail
        self.provider = provider
        self.model = model
        self.retry_after = retry_after
        self.answered = answered
        super().__init__(f"{provider}/{model}: {detail}")


class ProviderError(ModelError, code="provider_error"):
    """The provider answered 5xx or something unreadable, hung up, or can't be reached: worth another try."""


class ModelNeverRan(ProviderError):
    """The provider failed before any model ran, so the call costs nothing: a 5xx answer, or no connection."""


class RateLimited(ModelError, code="rate_limited", status=429, title="The model provider's rate limit is reached"):
    """The provider answered 429."""


class ModelTimeout(ModelError, code="timeout", status=504, title="A model call timed out"):
    """The provider didn't answer within the call's timeout."""


class ModelRefused(ModelError, code="model_refused", title="The model provider refused the call"):
    """The provider will refuse this call every time: bad key, unknown model, bad request."""


class ContentRefused(
    ModelRefused, code="content_refused", status=400, title="The model doesn't take what the conversation has"
):
    """The provider doesn't take an image, a file or audio of the conversation, or a tool of the caller."""


class JsonFormRefused(ModelRefused):
    """The server refuses the form in which the call requests JSON. The next call uses another form."""


class UnusableReply(ModelError):
    """The model's reply can't be used. `reply`: the text that was received. Another try isn't expected to help."""

    def __init__(self, detail: str, *, provider: str, model: str, reply: str = "") -> None:
        self.reply = reply
        super().__init__(detail, provider=provider, model=model)


class ReplyCutOff(UnusableReply, code="reply_cut_off", title="The model's reply was cut off"):
    """The reply was cut off at `max_tokens`, at the budget's limit, or at the model's own."""


class ReplyRefused(UnusableReply, code="refused", title="The model refused to answer"):
    """The model declined to answer, in its own words."""


class ReplyFiltered(UnusableReply, code="filtered", title="A content filter blocked the reply"):
    """The provider's content filter blocked the prompt or the reply."""


class NoJson(UnusableReply, code="invalid_output", title="The model's reply doesn't match the node's outputs"):
    """The provider reports that the reply isn't the requested JSON, and doesn't send the reply."""


class InvalidOutput(
    StepError, code="invalid_output", status=502, title="The model's reply doesn't match the node's outputs"
):
    """The model's reply doesn't match the node's outputs. `reply`: its text."""

    def __init__(self, detail: str, *, reply: str) -> None:
        self.reply = reply
        super().__init__(detail)


class EvaluationError(StepError, code="expression_error", title="A template or an expression failed"):
    """A template or an expression can't be evaluated with the values of the state. No other route is taken instead."""


class ToolError(StepError, code="tool_error", title="A tool failed"):
    """A tool of the step failed, and the document doesn't want a model to go on without it."""


class TooManyToolRounds(StepError, code="too_many_tool_rounds", title="A model called tools too often"):
    """A model has called tools in more replies than its node allows."""

    def __init__(self, node: str, rounds: int) -> None:
        hint = "raise max_tool_rounds, or tell the model when to stop"
        super().__init__(f"node '{node}': after {rounds} rounds of tool calls there is no answer: {hint}")


class AssertionFailed(StepError, code="assertion_failed", title="An assertion failed"):
    """The condition of an assert node doesn't hold."""


class CodeError(StepError, code="code_failed", title="The code of a step failed"):
    """The code of a node failed: its own error. `log`: what it has printed."""

    def __init__(self, detail: str, *, log: str = "") -> None:
        self.log = log
        super().__init__(detail)


class CodeTimeout(CodeError, code="code_timeout", status=504, title="The code of a step took too long"):
    """The code was stopped at its time limit."""


class CodeOutOfMemory(CodeError, code="code_memory", title="The code of a step needed too much memory"):
    """The code was stopped at its memory limit."""


class CodeCrashed(CodeError, code="code_crashed", title="The process that executed the code of a step has ended"):
    """The worker ended while it executed the code."""


class SandboxUnavailable(CodeError, code="sandbox_unavailable", status=503, title="No sandbox executes code here"):
    """There is nothing that could execute the code, or it doesn't answer."""


class StepTimeout(StepError, code="timeout", status=504, title="A step timed out"):
    """A step took longer than its node's `timeout`."""

    def __init__(self, node: str, seconds: float) -> None:
        super().__init__(f"node '{node}' took longer than its timeout of {seconds:g} s")


class OutputsTooLarge(FlowyardError, code="outputs_too_large", status=413, title="A step's outputs are too large"):
    """The outputs of a step are larger than their limit, in bytes of JSON."""

    def __init__(self, step: str, *, size: int, limit: int) -> None:
        most = f"more than the limit of {limit:,} (FLOWYARD_OUTPUTS_LIMIT)"
        super().__init__(f"the outputs of {step} have {size:,} bytes as JSON, {most}")


class StateTooLarge(FlowyardError, code="state_too_large", status=413, title="A run's state is too large"):
    """With the outputs of a step, the state of its run would be larger than its limit, in bytes of JSON."""

    def __init__(self, step: str, *, written: int, size: int, limit: int) -> None:
        most = f"more than the limit of {limit:,} (FLOWYARD_STATE_LIMIT)"
        super().__init__(
            f"with the outputs of {step}, {written:,} bytes as JSON, the run's state would have {size:,}, {most}"
        )


class BudgetExceeded(
    FlowyardError, code="budget_exceeded", status=402, title="The budget doesn't allow another model call"
):
    """The next model call might exceed a limit, so it isn't made, and the run fails.

    `limit`: `usd`, `tokens` or `model_calls`; `per`: of a run, or of all runs of its workflow on one day.
    """

    detail_fields = ("limit", "per")

    def __init__(self, limit: str, why: str, *, per: Literal["run", "day"]) -> None:
        self.limit = limit
        self.per = per
        super().__init__(why)


class LimitReached(BudgetExceeded):
    """`coming`: the most that the call can use, in the unit of the limit."""

    def __init__(self, limit: str, *, per: Literal["run", "day"], allowed: Cost, spent: Cost, coming: Cost) -> None:
        whose = "the run's" if per == "run" else "the workflow's daily"
        unit = {"usd": "US dollars", "model_calls": "model calls"}.get(limit, limit)
        left = max(allowed - spent, 0)
        most, rest, more = (f"{n:f}" if isinstance(n, Decimal) else str(n) for n in (allowed, left, coming))
        why = f"doesn't allow another call: it needs {more}, and {rest} is left"
        super().__init__(limit, f"{whose} limit of {most} {unit} {why}", per=per)


class UnpricedModel(BudgetExceeded):
    """The budget has a limit in US dollars, and the price of the model isn't known."""

    def __init__(self, *, provider: str, model: str, per: Literal["run", "day"]) -> None:
        unknown = f"the price of {provider}/{model} isn't known, so the limit in usd can't be enforced"
        super().__init__(
            "usd", f"{unknown}: add the price in the document or in FLOWYARD_PRICES, or limit tokens", per=per
        )
