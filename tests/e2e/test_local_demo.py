"""The demo's text really comes from the local model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.cli import fresh_flowyard

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.local_model
def test_the_haiku_comes_from_the_model_on_this_machine() -> None:
    ended = fresh_flowyard("run", "haiku.yaml", "-i", "topic=rain", "--json", cwd=EXAMPLES)
    result = json.loads(ended.out)
    (node,) = result["nodes"]
    assert result["status"] == "succeeded", ended.err
    assert len(result["outputs"]["poem"].split()) > 2
    assert node["tokens_in"] > 10
    assert node["tokens_out"] > 2
    assert node["cost_usd"] == 0
