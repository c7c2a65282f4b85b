"""How a reply through LiteLLM ended.

LiteLLM has no words for a refusal and for the reason of a filter, so its functions that read them are wrapped here:
they write what they drop into the Outcome of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from flowyard.llm.endings import BROKEN, CUT_OFF, Outcome, stopped_in_the_middle
from flowyard.llm.error_bodies import filter_names
from flowyard.llm.event_stream import BrokenReply

# After this import LiteLLM is set up.
from flowyard.llm.litellm_setup import litellm

_outcome: ContextVar[Outcome] = ContextVar("_outcome")
"""Of the call that is made in this context."""

_Reader = Callable[..., Any]
_helpers: Any = import_module("litellm.litellm_core_utils.core_helpers")
_gemini: Any = import_module("litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini").VertexGeminiConfig


def begin_outcome() -> Outcome:
    """The outcome of the call that is made next in this context."""
    outcome = Outcome()
    _outcome.set(outcome)
    return outcome


def add_reply(outcome: Outcome, choice: Any) -> None:
    """A whole reply. `choice`: LiteLLM's object."""
    message, fields = choice.message, getattr(choice, "provider_specific_fields", None) or {}
    outcome.reason = outcome.reason or choice.finish_reason
    outcome.filters = outcome.filters or filter_names(fields)
    own_fields = getattr(message, "provider_specific_fields", None) or {}
    outcome.refusal = own_fields.get("refusal") or getattr(message, "refusal", None) or ""
    add_reasoning(outcome, message)


def add_reasoning(outcome: Outcome, message: Any) -> None:
    """`message`: a message, or a piece of it."""
    outcome.reasoning.add(getattr(message, "reasoning_content", None))


def add_usage(outcome: Outcome, usage: Any) -> None:
    details = getattr(usage, "completion_tokens_details", None)
    outcome.reasoning.add(getattr(details, "reasoning_tokens", None))


class _FinishReasons(dict[str, str]):
    """LiteLLM's table of finish reasons.

    It has `content_filter` for refusals and for all filters, and `stop` for failures and for some cut-off replies.
    """

    def get(self, reason: str, default: Any = None, /) -> Any:
        mapped = super().get(reason, default)
        if mapped == "content_filter":
            _add_native_reason(reason)
        elif reason in BROKEN or reason in CUT_OFF:
            (_outcome.get(None) or Outcome()).reason = reason
        return mapped


def _add_native_reason(reason: object, *, was_prompt: bool = False) -> None:
    outcome = _outcome.get(None)
    if outcome is None or not isinstance(reason, str):
        return
    if reason == "refusal":
        outcome.reason = reason
    elif reason != "content_filter":
        outcome.filters = reason
        outcome.was_prompt = was_prompt


def _of_blocked(read: _Reader) -> _Reader:
    """For a function that reads an answer of Gemini in which the prompt or the reply was blocked."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for answer in (*args, *kwargs.values()):
            if isinstance(answer, dict):
                candidates = answer.get("candidates") or [{}]
                blocked = (answer.get("promptFeedback") or {}).get("blockReason")
                _add_native_reason(blocked or candidates[0].get("finishReason"), was_prompt=bool(blocked))
        return read(*args, **kwargs)

    return wrapped


def _of_chunk(read: _Reader) -> _Reader:
    """For the function that reads a chunk in OpenAI's format."""

    def wrapped(stream: Any, chunk: Any) -> Any:
        outcome = _outcome.get(None) or Outcome()
        for choice in getattr(chunk, "choices", None) or ():
            if (reason := getattr(choice, "finish_reason", None)) in BROKEN:
                raise BrokenReply(stopped_in_the_middle(reason))
            outcome.refusal += getattr(getattr(choice, "delta", None), "refusal", None) or ""
            results = getattr(choice, "content_filter_results", None)
            outcome.filters = filter_names({"content_filter_results": results}) or outcome.filters
        return read(stream, chunk)

    return wrapped


_helpers._FINISH_REASON_MAP = _FinishReasons(_helpers._FINISH_REASON_MAP)  # noqa: SLF001  # there is no setting for it
_gemini._handle_blocked_response = _of_blocked(_gemini._handle_blocked_response)  # noqa: SLF001
_gemini._handle_content_policy_violation = _of_blocked(_gemini._handle_content_policy_violation)  # noqa: SLF001
_gemini._check_prompt_level_content_filter = staticmethod(  # noqa: SLF001
    _of_blocked(_gemini._check_prompt_level_content_filter)  # noqa: SLF001
)
litellm.CustomStreamWrapper.handle_openai_chat_completion_chunk = _of_chunk(
    litellm.CustomStreamWrapper.handle_openai_chat_completion_chunk
)
