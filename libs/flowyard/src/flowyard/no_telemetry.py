"""No library sends telemetry, whatever the environment says. What LiteLLM needs is in `llm/litellm_setup.py`."""

from __future__ import annotations

import os
from typing import Final

_ENVIRONMENT: Final = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
}


def forbid_telemetry() -> None:
    """For this process and those that it starts. To be called before the libraries are imported or used."""
    os.environ.update(_ENVIRONMENT)
