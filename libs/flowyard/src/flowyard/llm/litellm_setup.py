"""Imports LiteLLM, without its logs, downloads and reports. The import takes 2 to 4 s; others import it from here."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NoReturn

ENVIRONMENT: Final = {
    # Each of these stops a download or a report to the outside.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    # Otherwise LiteLLM loads the .env file of the current folder.
    "LITELLM_MODE": "PRODUCTION",
    # Its HTTP client in Rust knows nothing of our limits, proxies and redirects.
    "LITELLM_RUST": "False",
}

# Before the import, because LiteLLM reads them then. They override the environment: that nothing else leaves the
# machine is our promise, whoever imports this module.
os.environ.update(ENVIRONMENT)

with warnings.catch_warnings():
    # LiteLLM's types make pydantic warn, at the import or when the first is created: so create them here.
    warnings.simplefilter("ignore")
    # Any: LiteLLM's annotations don't match what it returns, and mypy needs 20 s to follow them.
    litellm: Any = import_module("litellm")
    litellm.ModelResponse()
    litellm.ModelResponseStream()
# These warnings contain the response, and LiteLLM's types cause them for correct responses, too.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
_http: Any = import_module("litellm.llms.custom_httpx.http_handler")
logging_worker: Any = import_module("litellm.litellm_core_utils.logging_worker")
_logging: Any = import_module("litellm.litellm_core_utils.litellm_logging")
_main: Any = import_module("litellm.main")
_ollama_chat: Any = import_module("litellm.llms.ollama.chat.transformation").OllamaChatCompletionResponseIterator
_ollama: Any = import_module("litellm.llms.ollama.common_utils")

litellm.suppress_debug_info = True
litellm.telemetry = False
# Without a usage in the response, LiteLLM counts tokens with another model's tokenizer. Unknown is better than wrong.
litellm.disable_token_counter = True
# A model may repeat itself a hundred times on request. `max_tokens` bounds a reply, this limit must not.
litellm.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
# LiteLLM's log lines about failures may contain prompts and keys; the failure itself is raised as an exception.
for _name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


async def _no_second_request(*_: object, **__: object) -> NoReturn:
    """Replaces the second request that LiteLLM sends after a lost connection, whatever `num_retries` is.

    The first request may have been processed and billed: the node's retry policy decides whether to repeat it. LiteLLM
    calls this while it handles the exception of the lost connection, which is raised again here.
    """
    raise sys.exception() or RuntimeError("a second request without a failed first one")


def _no_report(*_: object, **__: object) -> None:
    """Replaces the report that LiteLLM writes for its logging add-ons, of which we use none.

    For some providers the report needs a blocking HTTP request about the model, inside of the event loop.
    """


def _no_ollama_request(_: object, model: str, **__: object) -> dict[str, Any]:
    """Replaces a blocking request about the model to localhost:11434, whatever `api_base` is."""
    return {
        "key": model,
        "litellm_provider": "ollama",
        "mode": "chat",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "max_tokens": None,
        "max_input_tokens": None,
        "max_output_tokens": None,
    }


def _no_prices(*_: object, **__: object) -> None:
    """Replaces a function that takes prices from a call's parameters and applies them to all later calls."""


def _with_tags(parse: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Any, dict[str, Any]], Any]:
    """Keeps the tags of reasoning in a stream of Ollama's: LiteLLM drops them, wherever they are, with what is next."""

    def wrapped(iterator: Any, chunk: dict[str, Any]) -> Any:
        message: Any = chunk.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str) or "<" not in text:
            return parse(iterator, chunk)
        parsed = parse(iterator, {**chunk, "message": {**message, "content": "-"}})
        parsed.choices[0].delta.content = text
        return parsed

    return wrapped


_main._register_custom_pricing_for_request = _no_prices  # noqa: SLF001  # there is no setting for it
_http.AsyncHTTPHandler.single_connection_post_request = _no_second_request
_logging.get_standard_logging_object_payload = _no_report
_ollama_chat.chunk_parser = _with_tags(_ollama_chat.chunk_parser)
_ollama.OllamaModelInfo.get_runtime_model_info = _no_ollama_request


# LiteLLM and its dependencies import these inside of functions.
_LATE_IMPORTS: Final = (
    "anyio._backends._asyncio", "litellm._service_logger", "litellm.litellm_core_utils.default_encoding",
    "litellm.types.litellm_core_utils.streaming_chunk_builder_utils",
)  # fmt: skip
# Half of the time; all providers but these need it.
_OPENAI: Final = "openai.resources"
_WITHOUT_OPENAI: Final = frozenset({"anthropic", "gemini", "ollama_chat"})


def warm_up(provider: str) -> None:
    """Imports and builds early what LiteLLM otherwise does in its first call, within the call's timeout: half a second.

    Blocks for up to a second, without network. `provider`: LiteLLM's name. Raises any exception of LiteLLM.
    """
    for name in (*_LATE_IMPORTS, *(() if provider in _WITHOUT_OPENAI else (_OPENAI,))):
        import_module(name)
    # Always the same model: the imports are the same for all, but for some models LiteLLM sends a request.
    litellm.completion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "warm-up"}],
        mock_response="ok",
        api_key="no-key",
    )
