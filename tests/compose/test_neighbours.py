"""A second stack, from another checkout, next to the first: with other ports, and the data of an older version."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from support.compose import OURS, ROOT, VERSION, Composed, Project, bridge, docker, inspect, project
from support.stack import free_ports
from support.upgrade import DUMP, EXPECTED_PROMPTS, OUTPUTS, counted_prompts, reply
from support.visitor import Visitor, visitor_of
from support.waiting import eventually
from support.wire.behaviour import Held, Text
from support.wire.ollama import ollama_server

WITHIN_S = 60
SERVICES = ("gateway", "dashboard", "registry", "executor", "sandbox")
POEM = """\
flow: {name: poem}
state:
  fields: {poem: str}
nodes:
  - {id: write, prompt: Write., outputs: [poem]}
config:
  llm: MODEL
"""


@dataclass(frozen=True)
class Neighbour:
    project: Project
    ollama_port: int


@pytest.fixture(scope="module")
def neighbour(compose: Composed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    """Without MLflow and Prometheus, which need not be there. Its images are those of the first."""
    folder = tmp_path_factory.mktemp("checkout") / "of somebody's own"
    folder.mkdir()
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    port = free_ports()
    alone = {"FLOWYARD_MLFLOW_URL": "", "FLOWYARD_PROMETHEUS_URL": ""}
    with project(folder, OLLAMA_API_BASE=f"http://host.docker.internal:{port}", **alone) as made:
        # As it is before the first service of the new version starts.
        made.compose("run", "--rm", "roles")
        into = ["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--username=flowyard_owner", "--dbname=flowyard"]
        docker("exec", "--interactive", made.container("postgres"), *into, given=DUMP.read_text())
        made.up("--no-build", *SERVICES)
        yield Neighbour(made, port)


async def test_runs_that_waited_when_the_version_changed_are_finished_without_a_repeated_call(
    neighbour: Neighbour,
) -> None:
    made = neighbour.project
    async with (
        visitor_of(made.url("gateway"), made.key) as visitor,
        ollama_server(reply, host=bridge(), port=neighbour.ollama_port) as model,
    ):
        runs = {run_id: await visitor.ended(run_id) for run_id in OUTPUTS}
    assert {run_id: (run["status"], run["outputs"]) for run_id, run in runs.items()} == {
        run_id: ("succeeded", outputs) for run_id, outputs in OUTPUTS.items()
    }
    assert counted_prompts(model) == EXPECTED_PROMPTS


@pytest.fixture
def next_version() -> Iterator[str]:
    """The same images by another tag."""
    tags = {f"flowyard/{name}:{VERSION}": f"flowyard/{name}:next" for name in (*OURS, "cli")}
    for image, tag in tags.items():
        docker("tag", image, tag)
    yield "next"
    docker("rmi", "--force", *tags.values())


async def test_a_step_that_is_at_work_when_the_version_changes_is_finished_where_it_began(
    neighbour: Neighbour, next_version: str
) -> None:
    old, held = neighbour.project, asyncio.Event()
    new = replace(old, settings={**old.settings, "FLOWYARD_VERSION": next_version})
    async with (
        visitor_of(old.url("gateway"), old.key) as visitor,
        ollama_server(lambda _: Held(Text("new"), held), host=bridge(), port=neighbour.ollama_port) as model,
    ):
        slow = POEM.replace("name: poem", "name: slow").replace("MODEL", "{provider: ollama, model: any}")
        await visitor.apply("slow", slow)
        run_id = await visitor.submit("slow")
        await eventually(lambda: model.requests, WITHIN_S)
        upgrading = asyncio.create_task(asyncio.to_thread(new.up, "--no-build", *SERVICES))

        async def is_ending() -> bool:
            return "shutting down" in await asyncio.to_thread(old.logs, of=("executor",))

        await eventually(is_ending, WITHIN_S)
        held.set()
        await upgrading
        run = await visitor.ended(run_id)
    assert (run["status"], run["attempt"], len(model.requests)) == ("succeeded", 1, 1)
    assert inspect(new.container("executor"))["Config"]["Image"] == f"flowyard/executor:{next_version}"


async def test_two_stacks_side_by_side_have_nothing_in_common(visitor: Visitor, neighbour: Neighbour) -> None:
    made = neighbour.project
    await visitor.apply("poem", POEM)
    run = await visitor.ended(await visitor.submit("poem"))
    async with visitor_of(made.url("gateway"), made.key, model_host=bridge()) as other:
        assert (await other.http.get("/v1/workflows/poem")).status_code == 404
        await other.apply("poem", POEM)
        others = await other.ended(await other.submit("poem"))
        assert (await other.http.get(f"/v1/runs/{run['id']}")).status_code == 404
        other.http.headers["authorization"] = visitor.http.headers["authorization"]
        assert (await other.http.get("/v1/runs")).status_code == 401
    assert (run["status"], others["status"]) == ("succeeded", "succeeded")


def test_a_stack_without_mlflow_and_prometheus_is_whole(neighbour: Neighbour) -> None:
    made = neighbour.project
    assert [name for name in ("mlflow", "prometheus", "grafana", "ollama") if made.containers(name)] == []
    assert [name for name in SERVICES if len(made.containers(name)) != 1] == []
