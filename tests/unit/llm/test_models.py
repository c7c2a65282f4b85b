from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["models", "calls", "scripted"])
def test_the_door_is_cheap_to_import(module: str) -> None:
    heavy = "'litellm', 'openai', 'httpx', 'aiohttp', 'xllamacpp'"
    program = f"import sys, flowyard.llm.{module}; print([name for name in ({heavy}) if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
