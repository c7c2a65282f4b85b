"""The one error tree. A class knows its stable code; its constructor takes facts, never a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class FlowyardError(Exception):
    """Anything that Flowyard reports to a person. `str()` of it is the message, without a traceback."""

    code: ClassVar[str] = "error"

    @property
    def message(self) -> str:
        return str(self)


class InvalidInputs(FlowyardError):
    """The inputs of a run don't fit the workflow's state."""

    code = "invalid_inputs"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class MissingApiKey(FlowyardError):
    """A model needs a key that the environment doesn't hold."""

    code = "missing_api_key"

    def __init__(self, *, provider: str, model: str, variable: str) -> None:
        self.variable = variable
        super().__init__(f"{provider}/{model} needs an API key: set the environment variable {variable}")


class ModelNotInstalled(FlowyardError):
    """A provider needs a package that isn't installed."""

    code = "model_not_installed"

    def __init__(self, *, provider: str, package: str, install: str) -> None:
        super().__init__(f"provider '{provider}' needs the package {package}: {install}")


class StepError(FlowyardError):
    """A step failed. `code` is the class of error that `retry.on` names."""

    code = "step_error"


class ModelError(StepError):
    """A model call failed. `retry_after` is the wait in seconds that the provider asked for."""

    code = "provider_error"

    def __init__(self, detail: str, *, provider: str, model: str, retry_after: float | None = None) -> None:
        self.detail = detail
        self.provider = provider
        self.model = model
        self.retry_after = retry_after
        super().__init__(f"{provider}/{model}: {detail}")


class ProviderError(ModelError):
    """The provider answered 5xx, answered nonsense, hung up, or can't be reached: worth another try."""

    code = "provider_error"


class RateLimited(ModelError):
    """The provider answered 429."""

    code = "rate_limited"


class ModelTimeout(ModelError):
    """The provider didn't answer within the call's timeout."""

    code = "timeout"


class ModelRefused(ModelError):
    """The provider won't take this call however often it is made: bad key, unknown model, bad request."""

    code = "model_refused"


class InvalidOutput(StepError):
    """The model's reply doesn't fit the node's outputs. `reply` is kept for the reader."""

    code = "invalid_output"

    def __init__(self, detail: str, *, reply: str) -> None:
        self.reply = reply
        super().__init__(detail)


class EvaluationError(StepError):
    """A template or an expression met a value that it can't work with. It never falls to another route."""

    code = "expression_error"


class StepTimeout(StepError):
    """A node's `timeout` is over."""

    code = "timeout"

    def __init__(self, node: str, seconds: float) -> None:
        super().__init__(f"node '{node}' took longer than its timeout of {seconds:g} s")
