"""A real Prometheus and its promtool: from PATH, or from the image that the compose file names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from support.stack import free_ports
from support.waiting import eventually, eventually_blocking

IMAGE: Final = "prom/prometheus:v2.53.3"
DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
KEY_FILE: Final = "/run/flowyard/prometheus/key"
_READY_WITHIN_S: Final = 20
_LACKING: Final = f"NOT TESTED: there is neither {{}} on PATH nor a Docker engine that has {IMAGE}"


@cache
def _has_image() -> bool:
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, timeout=20, check=False)
    return done.returncode == 0


def promtool(folder: Path, *args: str) -> str:
    """Its output. `args` may name files below `folder`, which is where it runs. Skips the test if there is none."""
    if path := shutil.which("promtool"):
        command = [path, *args]
    elif _has_image():
        command = ["docker", "run", "--rm", "--network=none", f"--volume={folder}:/work:ro", "--workdir=/work"]
        command += ["--entrypoint=promtool", IMAGE, *args]
    else:
        pytest.skip(_LACKING.format("promtool"))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def prometheus(home: Path, targets: Mapping[str, Sequence[str]], key: str) -> Iterator[str]:
    """Its address, once it has read all of them. Ours in everything but where it finds the services and its pace.

    `targets`: addresses per job.
    """
    port = free_ports()
    targets = {**targets, "prometheus": [f"127.0.0.1:{port}"]}
    folder = _configured(home, targets, key)
    options = [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    if path := shutil.which("prometheus"):
        command = [path, "--config.file=prometheus.yml", f"--storage.tsdb.path={home / 'tsdb'}", *options]
    elif _has_image():
        command = ["docker", "run", "--rm", "--network=host", f"--volume={folder}:/work:ro", "--workdir=/work"]
        command += [IMAGE, "--config.file=/work/prometheus.yml", "--storage.tsdb.path=/prometheus", *options]
    else:
        pytest.skip(_LACKING.format("prometheus"))
    log = home / "prometheus.log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=folder, stdout=out, stderr=out) as process:
        try:
            _wait_until_read(f"http://127.0.0.1:{port}", sum(map(len, targets.values())), process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            # The docker client passes it on to its container.
            process.terminate()
            process.wait(_READY_WITHIN_S)


def config() -> dict[str, Any]:
    """What the containers run with."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    return read


async def series_of(url: str, query: str) -> list[dict[str, Any]]:
    """The series that the Prometheus at `url` finds now."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        answer = (await http.get("/api/v1/query", params={"query": query})).json()
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


async def measures(url: str, query: str, wanted: float, *, within_s: float) -> None:
    """Returns when it does: Prometheus reads its targets every few seconds."""
    seen = "nothing"

    async def look() -> bool:
        nonlocal seen
        answer = await series_of(url, query)
        seen = answer[0]["value"][1] if answer else "nothing"
        return bool(answer) and float(seen) == pytest.approx(wanted)

    await eventually(look, within_s, pause_s=0.5, explain=lambda: f"{query}: {seen}, and not {wanted}")


def _configured(home: Path, targets: Mapping[str, Sequence[str]], key: str) -> Path:
    folder = home / "config"
    shutil.copytree(DEPLOY / "rules", folder / "rules")
    (folder / "key").write_text(key)
    ours = config()
    ours["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    for job in ours["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
        if "authorization" in job:
            job["authorization"] = {"credentials_file": "key"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(ours))
    # In its container it is nobody.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _wait_until_read(url: str, targets: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """It takes up its targets five seconds after it is ready."""

    def are_read() -> bool:
        assert process.poll() is None, log.read_text()
        return _read(url) >= targets

    eventually_blocking(are_read, _READY_WITHIN_S, pause_s=0.1, explain=log.read_text)


def _read(url: str) -> int:
    """How many targets it could read."""
    try:
        response = httpx.get(f"{url}/api/v1/query", params={"query": "up == 1"})
    except httpx.TransportError:
        return 0
    return len(response.json()["data"]["result"]) if response.status_code == 200 else 0
