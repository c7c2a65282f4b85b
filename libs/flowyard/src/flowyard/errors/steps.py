"""The branch of the error tree that steps fail with: models, their replies, templates, time, money."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from flowyard.errors.base import FlowyardError

Cost: TypeAlias = Decimal | int
"""US dollars, or a number of tokens or calls."""


class MissingApiKey(FlowyardError):
    """A model needs a key that the environment doesn't hold."""

    code = "missing_api_key"
    status = 422
    title = "A model's API key is missing"

    def __init__(self, *, provider: str, model: str, variable: str) -> None:
        self.variable = variable
        super().__init__(f"{provider}/{model} needs an API key: set the environment variable {variable}")


class ModelNotInstalled(FlowyardError):
    """A provider needs a package that isn't installed."""

    code = "model_not_installed"
    status = 422
    title = "A model's package isn't installed"

    def __init__(self, *, provider: str, package: str, install: str) -> None:
        instead = ", or name another model in the document's config.llm"
        super().__init__(
            f"provider '{provider}' needs the package {package}, which isn't installed: {install}{instead}"
        )


class StepError(FlowyardError):
    """A step failed. `code` is the class of error that `retry.on` names."""

    code = "step_error"
    title = "A step failed"


class ModelError(StepError):
    """A model call failed. `retry_after` is the wait in seconds that the provider asked for."""

    code = "provider_error"
    status = 502
    title = "A model call failed"

    def __init__(self, detail: str, *, provider: str, model: str, retry_after: float | None = None) -> None:
        self.detail = detail
        self.provider = provider
        self.model = model
        self.retry_after = retry_after
        super().__init__(f"{provider}/{model}: {detail}")


class ProviderError(ModelError):
    """The provider answered 5xx, answered nonsense, hung up, or can't be reached: worth another try."""

    code = "provider_error"


class ModelNeverRan(ProviderError):
    """The provider failed before any model ran, so the call costs nothing: a 5xx answer, or no connection."""


class RateLimited(ModelError):
    """The provider answered 429."""

    code = "rate_limited"
    status = 429
    title = "The model provider limits the rate"


class ModelTimeout(ModelError):
    """The provider didn't answer within the call's timeout."""

    code = "timeout"
    status = 504
    title = "A model took too long"


class ModelRefused(ModelError):
    """The provider won't take this call however often it is made: bad key, unknown model, bad request."""

    code = "model_refused"
    title = "The model provider refused the call"


class InvalidOutput(StepError):
    """The model's reply doesn't fit the node's outputs. `reply` is kept for the reader."""

    code = "invalid_output"
    status = 502
    title = "The model's reply doesn't fit"

    def __init__(self, detail: str, *, reply: str) -> None:
        self.reply = reply
        super().__init__(detail)


class EvaluationError(StepError):
    """A template or an expression met a value that it can't work with. It never falls to another route."""

    code = "expression_error"
    title = "A template or an expression failed"


class AssertionFailed(StepError):
    """The condition of an assert node doesn't hold."""

    code = "assertion_failed"
    title = "An assertion failed"


class StepTimeout(StepError):
    """A node's `timeout` is over."""

    code = "timeout"
    status = 504
    title = "A step took too long"

    def __init__(self, node: str, seconds: float) -> None:
        super().__init__(f"node '{node}' took longer than its timeout of {seconds:g} s")


class BudgetExceeded(FlowyardError):
    """The next call of a model might pass a limit, so it isn't made, and its run ends.

    `limit`: `usd`, `tokens` or `model_calls`; `per`: of a run, or of all runs of its workflow on one day.
    """

    code = "budget_exceeded"
    status = 402
    title = "The budget doesn't allow another model call"
    tells = ("limit", "per")

    def __init__(self, limit: str, why: str, *, per: Literal["run", "day"]) -> None:
        self.limit = limit
        self.per = per
        super().__init__(why)


class LimitReached(BudgetExceeded):
    """`coming`: what the call could take at most, beside what is spent."""

    def __init__(self, limit: str, *, per: Literal["run", "day"], allowed: Cost, spent: Cost, coming: Cost) -> None:
        whose = "the run's" if per == "run" else "the workflow's daily"
        unit = {"usd": "US dollars", "model_calls": "model calls"}.get(limit, limit)
        most, used, more = (f"{n:f}" if isinstance(n, Decimal) else str(n) for n in (allowed, spent, coming))
        why = f"doesn't allow another call: {used} spent, and it could take up to {more}"
        super().__init__(limit, f"{whose} limit of {most} {unit} {why}", per=per)


class UnpricedModel(BudgetExceeded):
    """A limit in US dollars, and a model whose price isn't known."""

    def __init__(self, *, provider: str, model: str, per: Literal["run", "day"]) -> None:
        unknown = f"the price of {provider}/{model} isn't known, so a limit in usd can't be kept"
        super().__init__("usd", f"{unknown}: limit tokens or model_calls instead", per=per)
