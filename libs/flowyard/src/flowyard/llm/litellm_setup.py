"""LiteLLM, told to be quiet and to stay at home. Its import takes 2 to 4 s; every other module takes it from here."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib import import_module
from typing import Any, Final, NoReturn

ENVIRONMENT: Final = {
    # Each of these stops a download or a report that would leave the machine.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    # Otherwise LiteLLM reads a .env file of the current folder, which nobody asked it to.
    "LITELLM_MODE": "PRODUCTION",
}

# LiteLLM reads them while it is imported, so they come first. They win over what the environment says: to stay at home
# is what we promise, whoever imports us.
os.environ.update(ENVIRONMENT)

with warnings.catch_warnings():
    # Its types make pydantic warn, at the import or when the first of them is made: so make them here.
    warnings.simplefilter("ignore")
    # Any: what LiteLLM's annotations promise and what it returns differ, and mypy needs 20 s to follow them.
    litellm: Any = import_module("litellm")
    litellm.ModelResponse()
    litellm.ModelResponseStream()
# They spell the answer in which something is odd, and LiteLLM's own types make them of good answers, too.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
_http: Any = import_module("litellm.llms.custom_httpx.http_handler")
logging_worker: Any = import_module("litellm.litellm_core_utils.logging_worker")
_logging: Any = import_module("litellm.litellm_core_utils.litellm_logging")
_main: Any = import_module("litellm.main")
_ollama: Any = import_module("litellm.llms.ollama.common_utils")

litellm.suppress_debug_info = True
litellm.telemetry = False
# Where a provider doesn't say its usage, LiteLLM counts by itself, with another model's tokenizer. Unknown is better.
litellm.disable_token_counter = True
# A model may well say the same hundred times, and a person may have asked for it: max_tokens bounds a reply, not this.
litellm.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
# What it logs on a failure may hold prompts and keys; the failure itself reaches us as an exception.
for _name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


async def _no_second_request(*_: object, **__: object) -> NoReturn:
    """Stands in for the second try that LiteLLM makes on a lost connection, whatever `num_retries` says.

    The first request may have been answered and billed: whether to ask again is decided by the node's retry policy.
    It is called while the lost connection's exception is being handled, which goes on from here.
    """
    raise sys.exception() or RuntimeError("asked for a second request without a failed first")


def _no_report(*_: object, **__: object) -> None:
    """Stands in for the report that LiteLLM writes for its logging add-ons, of which we use none.

    For some providers it asks the network about the model, with a blocking request inside of the event loop.
    """


def _ollama_unasked(_: object, model: str, **__: object) -> dict[str, Any]:
    """Stands in for a blocking request about the model that goes to localhost:11434, whatever `api_base` says."""
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
    """Stands in for what takes prices out of a call's parameters and keeps them, for all calls of this process."""


_main._register_custom_pricing_for_request = _no_prices  # noqa: SLF001  # it has no switch for it
_http.AsyncHTTPHandler.single_connection_post_request = _no_second_request
_logging.get_standard_logging_object_payload = _no_report
_ollama.OllamaModelInfo.get_runtime_model_info = _ollama_unasked
