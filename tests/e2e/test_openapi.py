"""Every service does what its OpenAPI document says, and nothing else, whatever the request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from support.cli import clean_environment
from support.system import System

# Hundreds of requests to each service.
pytestmark = pytest.mark.timeout(300)

UNDOCUMENTED: Final = {"/metrics", "/openapi.json"}
METHODS: Final = {"get", "put", "post", "delete", "patch"}
HEALTH: Final = {"/health/live", "/health/ready"}
HOOKS: Final = {"gateway": {"/hooks/{path}"}}
"""Senders of webhooks have no key: they prove themselves."""
SERVICES: Final = ("gateway", "dashboard", "registry", "executor-1")
# Nobody listens there: its runs have failed at once.
HAIKU: Final = """\
flow: {name: haiku}
state:
  fields:
    topic: {type: str, default: rain}
    poem: str
nodes:
  - {id: write, prompt: 'Write {topic}.', outputs: [poem], retry: 0}
config:
  llm: {provider: hosted_vllm, model: m, api_base: 'http://127.0.0.1:1/v1'}
"""
# What is invalid for reasons that no schema can express is refused all the same, so valid data isn't always accepted.
# And a GET of /v1/runs/cancel asks for a run with that name. Wrong keys aren't tried: many of them are slowed down, and
# another test tries each route with one. The only id of a key is that of one which nobody uses: with an id out of a
# list, it would revoke its own key, and from then on each answer would be 401, as documented.
SETTINGS: Final = """\
continue-on-failure = true
request-timeout = 10
headers = {{ Authorization = "Bearer {key}" }}
generation = {{ deterministic = true, max-examples = 3 }}
phases.coverage.enabled = {coverage}
phases.stateful.enabled = false
checks.positive_data_acceptance.enabled = false
checks.allow_header_conformance.enabled = false
checks.ignored_auth.enabled = false
warnings = false

[dictionaries]
names = {{ values = ["haiku"] }}
runs = {{ values = ["{run_id}"] }}
nodes = {{ values = ["write"] }}

[parameters]
"path.name" = {{ dictionary = "names", probability = 0.7 }}
"path.run_id" = {{ dictionary = "runs", probability = 0.7 }}
"path.key_id" = "{other_key}"
"body.from.node" = {{ dictionary = "nodes", probability = 0.7 }}

# A document that fits its name would be run, by the small model on this machine.
[[operations]]
include-method = "PUT"
parameters = {{ "path.name" = "other" }}

[[operations]]
include-path = "/v1/runs/cancel"
checks.unsupported_method.enabled = false

# A failed run is answered 5xx, as OpenAI's clients expect it. There may be a workflow with the name in the examples.
[[operations]]
include-path = ["/v1/chat/completions", "/v1/responses"]
checks.not_a_server_error.enabled = false

[[operations]]
include-path = ["/v1/validate", "/v1/runs"]
checks.negative_data_rejection.enabled = false
"""
# They are tested at length where they are answered.
OF_THE_REGISTRY: Final = """
[[operations]]
include-path-regex = '^/v1/(agents|schema|validate|workflows(?!/[^/]+/runs))'
phases.coverage.enabled = false
"""


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.long)], ids=["some values", "all values"])
def settings_file(system: System, request: pytest.FixtureRequest) -> str:
    """The settings, with the names of things that there are. All values: each keyword of each schema is violated."""
    with httpx.Client(base_url=system.url, headers=system.headers, timeout=20) as client:
        # Other tests may have left the workflow of the examples, whose model is gone: each request would wait for its
        # retries.
        client.delete("/v1/workflows/support")
        for document in (HAIKU, HAIKU.replace("Write", "Sing")):
            assert client.put("/v1/workflows/haiku", content=document).status_code in {200, 201}
        run = client.post("/v1/workflows/haiku/runs", params={"wait": 20}, json={}).json()
        other_key = client.post("/v1/keys", json={"name": "other", "scopes": ["read"]}).json()["id"]
    assert run["status"] == "failed"
    coverage = str(request.param).lower()
    return SETTINGS.format(key=system.key, run_id=run["id"], other_key=other_key, coverage=coverage)


# Not the dashboard: its document has its health alone.
@pytest.mark.parametrize(
    ("service", "more"),
    [("gateway", OF_THE_REGISTRY), ("registry", ""), ("executor-1", "")],
    ids=["gateway", "registry", "executor"],
)
def test_a_service_answers_as_its_document_says(
    system: System, settings_file: str, service: str, more: str, tmp_path: Path
) -> None:
    file, program = tmp_path / "schemathesis.toml", Path(sys.executable).with_name("schemathesis")
    file.write_text(settings_file + more, encoding="utf-8")
    done = subprocess.run(
        [program, "--config-file", file, "run", f"{system.address(service)}/openapi.json", "--no-color"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.bugs() == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_route_answers_without_a_key_but_health_and_webhooks(system: System, service: str) -> None:
    documented = {path: operations.keys() & METHODS for path, operations in paths_of(system, service).items()}
    paths = documented | {path: {"get"} for path in UNDOCUMENTED}
    with httpx.Client(base_url=system.address(service)) as stranger:
        answered = {path for path in paths for method in paths[path] if lets_in(stranger.request(method, path))}
    assert answered == HEALTH | HOOKS.get(service, set())


def paths_of(system: System, service: str) -> dict[str, dict[str, Any]]:
    document = httpx.get(f"{system.address(service)}/openapi.json", headers=system.headers).json()
    paths: dict[str, dict[str, Any]] = document["paths"]
    return paths


def lets_in(response: httpx.Response) -> bool:
    """The dashboard sends people to its login."""
    return response.status_code != 401 and not response.headers.get("location", "").startswith("/login")
