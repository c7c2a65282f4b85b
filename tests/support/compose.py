"""The system in containers: projects of `docker compose` that are ours alone, and what can be done to them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

from flowyard.access import KEY_RANDOM, new_key
from support.neighbourhood import VARIABLES, neighbourhood
from support.stack import free_ports
from support.system import EXECUTORS, System, environment_of_services
from support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
OURS: Final = ("registry", "executor", "gateway", "dashboard", "sandbox")
PORTS: Final = {"gateway": 8400, "dashboard": 8401, "registry": 8402, "executor": 8403, "sandbox": 8404}
VERSION: Final = "test"
"""The tag of our images."""
NO_FILE: Final = Path("/dev/null")
MOUNTED: Final = "/mounted"
"""Where containers see the files to which documents refer."""
_OVERRIDE: Final = "docker-compose.override.yml"
_PREFIX: Final = "flowyard-test-"
_LOCKS: Final = Path(tempfile.gettempdir())
# Containers that start take all processors for a while: no lease may run out for that.
_SETTINGS: Final = {"FLOWYARD_VERSION": VERSION, "FLOWYARD_LEASE_S": "5"}
_WITHIN_S: Final = 240
_BACK_WITHIN_S: Final = 90
_LABEL: Final = "com.docker.compose.project"
# Docker starts nothing again that was killed by `docker kill`: it has to die from within.
_TO_MAIN_PROCESS: Final = 'kill -s "$0" $(cat /proc/1/task/1/children)'


@cache
def lacking() -> str | None:
    """Why nothing can be tested in containers; None if it can."""
    if shutil.which("docker") is None:
        return "NOT TESTED IN CONTAINERS: there is no docker on PATH"
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            return f"NOT TESTED IN CONTAINERS: no answer to `{' '.join(command)}`: {done.stderr.strip()[:200]}"
    return None


def docker(
    *args: str, within_s: float = _WITHIN_S, env: Mapping[str, str] | None = None, given: str | None = None
) -> str:
    """The output of `docker …`, which has to succeed. `given`: its input."""
    done = subprocess.run(
        ["docker", *args],
        env=env and {**env, "COMPOSE_ANSI": "never", "COMPOSE_PROGRESS": "plain"},
        input=given or "",
        capture_output=True,
        encoding="utf-8",
        # Files of all kinds come this way, too.
        errors="replace",
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(args)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def inspect(container: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return content


@dataclass(frozen=True)
class Project:
    """`folder`: where its compose file is. `settings`: variables of the compose file. `env_file`: more of them."""

    name: str
    folder: Path
    settings: Mapping[str, str]
    env_file: Path = NO_FILE

    def compose(self, *args: str, within_s: float = _WITHIN_S) -> str:
        """The output of `docker compose …`. Nobody's .env or overriding file has a say, but for those of a checkout."""
        files = ["--env-file", str(self.env_file), "--file", str(self.folder / "docker-compose.yml")]
        more = [self.folder / "deploy" / "mlflow" / "published.yml"]
        if self.folder != ROOT:
            more.append(self.folder / _OVERRIDE)
        files += [word for file in more if file.exists() for word in ("--file", str(file))]
        environment = {**environment_of_services(), **_SETTINGS, **self.settings}
        return docker("compose", "--project-name", self.name, *files, *args, within_s=within_s, env=environment)

    def build(self) -> None:
        """The images, from the repository, wherever the project's own files are."""
        replace(self, folder=ROOT, env_file=NO_FILE).compose("build", "--quiet", within_s=1200)

    def up(self, *args: str) -> None:
        """Until all is healthy."""
        try:
            self.compose("up", "--detach", "--wait", *args)
        except AssertionError as error:
            error.add_note(self.logs("--tail", "8"))
            raise

    def logs(self, *args: str, of: Sequence[str] = OURS) -> str:
        """`executor-1  | {…}`. `of`: services; all, if it is empty."""
        # Even without colours it moves the cursor.
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.compose("logs", "--no-color", *args, *of))

    async def does(self, *args: str) -> str:
        """As `compose`, while the model and the test go on."""
        return await asyncio.to_thread(self.compose, *args)

    async def scale(self, executors: int) -> None:
        """As `make scale` does it."""
        scaled = ["--scale", f"executor={executors}", "executor"]
        await asyncio.to_thread(self.up, "--no-recreate", *scaled)

    def container(self, service: str) -> str:
        """Its name. `executor-2` is the second of its service; an executor's own name is that of its container."""
        if service.startswith(self.name):
            return service
        return f"{self.name}-{service}" if service[-1].isdigit() else f"{self.name}-{service}-1"

    def containers(self, service: str) -> list[str]:
        """The ids of those that run."""
        labels = [f"{_LABEL}={self.name}", f"com.docker.compose.service={service}"]
        return docker("ps", "--quiet", *(word for label in labels for word in ("--filter", f"label={label}"))).split()

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.settings[f'FLOWYARD_{service.upper()}_PORT']}"

    @property
    def key(self) -> str:
        return self.settings["FLOWYARD_ADMIN_KEY"]


@dataclass(frozen=True)
class Composed(System):
    """`up_s`: seconds from `docker compose up --wait` until all was healthy.

    `measured`: lines to print after the tests.
    """

    project: Project
    up_s: float
    measured: list[str]

    def address(self, service: str) -> str:
        networks = inspect(self.project.container(service))["NetworkSettings"]["Networks"].values()
        address = next(network["IPAddress"] for network in networks if network["IPAddress"])
        return f"http://{address}:{PORTS[service.partition('-')[0]]}"

    def send(self, service: str, number: signal.Signals) -> int:
        container = self.project.container(service)
        starts: int = inspect(container)["RestartCount"]
        docker("exec", container, "sh", "-c", _TO_MAIN_PROCESS, number.name.removeprefix("SIG"))
        return starts

    async def back(self, service: str, *, after: int) -> None:
        await eventually(lambda: asyncio.to_thread(self._is_back, service, after), _BACK_WITHIN_S, pause_s=0.2)

    def _is_back(self, service: str, after: int) -> bool:
        state = inspect(self.project.container(service))
        healthy: bool = state["State"].get("Health", {}).get("Status") == "healthy"
        return healthy and state["RestartCount"] > after

    def nats_url(self, user: str) -> str:
        """As a program in the stack's network has it, with the address that this machine knows for `nats`."""
        printed = self.project.compose(
            "run", "--rm", "--no-deps", "--entrypoint", "cat", "cli", f"/run/flowyard/cli/{user}_url"
        )
        network, *_ = inspect(self.project.container("nats"))["NetworkSettings"]["Networks"].values()
        return printed.strip().replace("@nats:", f"@{network['IPAddress']}:")

    async def command(self, *args: str) -> str:
        return await self.project.does("run", "--rm", "--no-deps", "cli", *args)

    def log_lines(self) -> Iterator[tuple[str, str]]:
        for line in self.project.logs().splitlines():
            service, _, text = line.partition("| ")
            yield service.strip(), text


@contextmanager
def composed() -> Iterator[Composed]:
    """`docker compose up` with two executors, of images that are built first; gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as home:
        near = neighbourhood(bridge(), Path(home, "files"))
        folder = checkout(Path(home, "checkout"), near.files, "gateway", "registry")
        (folder / "deploy/hooks.env").write_text("".join(f"{name}='{value}'\n" for name, value in VARIABLES.items()))
        # A provider whose prices are known wants a key.
        settings = {**near.settings, "FLOWYARD_REFERENCED_FILES": MOUNTED, "OPENAI_API_KEY": "sk-nobody"}
        with project(folder, **settings) as made:
            build_s = timed(made.build)
            up_s = timed(lambda: made.up("--no-build", "--scale", f"executor={len(EXECUTORS)}"))
            measured = [f"docker compose: images built in {build_s:.1f} s, all healthy {up_s:.1f} s after `up --wait`"]
            yield Composed(made.url("gateway"), made.url("dashboard"), made.key, near, made, up_s, measured)


def checkout(folder: Path, files: Path, *services: str) -> Path:
    """A new folder with what compose needs of the repository. These services can read `files` in `MOUNTED`."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("*.env"))
    shutil.copy(ROOT / "docker-compose.yml", folder)
    mounts = "".join(f"  {service}: {{volumes: ['{files}:{MOUNTED}:ro']}}\n" for service in services)
    (folder / _OVERRIDE).write_text(f"services:\n{mounts}")
    return folder


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


@contextmanager
def project(folder: Path, **settings: str) -> Iterator[Project]:
    """Nothing of it runs yet. At the end of the block it is removed with its data, whatever has happened."""
    sweep()
    name = f"{_PREFIX}{secrets.token_hex(4)}"
    door, watch = free_ports(), free_ports()
    ports = {"GATEWAY": door, "DASHBOARD": door + 1, "MLFLOW": watch, "PROMETHEUS": watch + 1}
    variables = {f"FLOWYARD_{service}_PORT": str(port) for service, port in ports.items()}
    key = new_key(secrets.token_bytes(KEY_RANDOM)).text
    made = Project(name, folder, {**variables, "FLOWYARD_ADMIN_KEY": key, **settings})
    with _lock(name):
        try:
            yield made
        finally:
            remove(name)


def bridge() -> str:
    """This machine's address on Docker's own network, which is what `host.docker.internal` stands for."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


def sweep() -> None:
    """Removes what killed test runs left behind."""
    projects = set(docker("ps", "--all", "--format", f'{{{{.Label "{_LABEL}"}}}}').split())
    projects |= set(docker("volume", "ls", "--format", f'{{{{.Label "{_LABEL}"}}}}').split())
    for name in sorted(name for name in projects if name.startswith(_PREFIX)):
        # In use, or somebody else's.
        with suppress(OSError), _lock(name):
            remove(name)


def remove(name: str) -> None:
    """Containers, networks and volumes of one project. Needs none of its files."""
    mine = ["--filter", f"label={_LABEL}={name}"]
    if containers := docker("ps", "--all", "--quiet", *mine).split():
        docker("rm", "--force", "--volumes", *containers)
    if networks := docker("network", "ls", "--quiet", *mine).split():
        docker("network", "rm", *networks)
    if volumes := docker("volume", "ls", "--quiet", *mine).split():
        docker("volume", "rm", *volumes)


@contextmanager
def _lock(name: str) -> Iterator[IO[str]]:
    """Held as long as the project is in use. The system lets go of it when its holder dies, however it dies."""
    file = _LOCKS / f"{name}.lock"
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield held
        finally:
            file.unlink(missing_ok=True)


@asynccontextmanager
async def cut_off(container: str) -> AsyncIterator[None]:
    """Within the block it is connected to no network; after it, to all as before."""
    networks = inspect(container)["NetworkSettings"]["Networks"]
    for network in networks:
        await asyncio.to_thread(docker, "network", "disconnect", network, container)
    try:
        yield
    finally:
        for network, attachment in networks.items():
            aliases = [word for alias in attachment["Aliases"] or () for word in ("--alias", alias)]
            await asyncio.to_thread(docker, "network", "connect", *aliases, network, container)
