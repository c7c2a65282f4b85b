"""A real MLflow server, from requirements/mlflow.txt in an environment of its own: nothing of ours imports it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx

from support.waiting import eventually_blocking

ROOT: Final = Path(__file__).parents[2]
_LOCK: Final = ROOT / "requirements" / "mlflow.txt"
_PLACE: Final = ROOT / ".venv" / "mlflow"
_STARTS_WITHIN_S: Final = 120
_QUIET: Final = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class NotInstallable(Exception):
    """MLflow can't be had here."""


@dataclass
class Mlflow:
    """A tracking server, as a client of its API sees it."""

    url: str
    pid: int

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}{path}", params=params, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        answer = httpx.post(f"{self.url}{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def experiment(self, workflow: str) -> str:
        content = self.get("/api/2.0/mlflow/experiments/get-by-name", experiment_name=f"flowyard/{workflow}")
        return str(content["experiment"]["experiment_id"])

    def runs(self, workflow: str) -> list[dict[str, Any]]:
        query = {"experiment_ids": [self.experiment(workflow)], "max_results": 1000}
        content: list[dict[str, Any]] = self.post("/api/2.0/mlflow/runs/search", query).get("runs", [])
        return content

    def runs_of(self, workflow: str, run_id: UUID) -> list[dict[str, Any]]:
        return [run for run in self.runs(workflow) if pairs(run, "tags")["flowyard.run_id"] == str(run_id)]

    def trace(self, run_id: UUID) -> dict[str, Any]:
        content: dict[str, Any] = self.get("/api/3.0/mlflow/traces/get", trace_id=f"tr-{run_id.hex}")["trace"]
        return content


def pairs(run: dict[str, Any], kind: str) -> dict[str, Any]:
    """The `params`, `metrics` or `tags` of MLflow's run."""
    return {one["key"]: one["value"] for one in run["data"].get(kind, [])}


@contextmanager
def mlflow_server(home: Path, port: int) -> Iterator[Mlflow]:
    """Raises NotInstallable."""
    program = _installed() / "bin" / "mlflow"
    home.mkdir(parents=True, exist_ok=True)
    store = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/artifacts"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWYARD_", "OTEL_"))}
    with (home / "log").open("ab") as out:
        process = subprocess.Popen(
            [program, "server", *store, *where],
            env={**environ, **_QUIET},
            stdout=out,
            stderr=out,
            cwd=home,
            start_new_session=True,
        )
    try:
        server = Mlflow(f"http://127.0.0.1:{port}", process.pid)
        _wait(server, process, home / "log")
        yield server
    finally:
        # It has workers, and they are of its session.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(server: Mlflow, process: subprocess.Popen[bytes], log: Path) -> None:
    def is_healthy() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{server.url}/health", timeout=2).is_success
        return False

    eventually_blocking(is_healthy, _STARTS_WITHIN_S, pause_s=0.2, explain=log.read_text)


def _installed() -> Path:
    """Made once for each lock: it takes a minute, and seconds where uv has the packages already."""
    mark = _PLACE / f".done-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]}"
    _PLACE.parent.mkdir(exist_ok=True)
    with (_PLACE.parent / ".mlflow-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            _install()
            mark.touch()
    return _PLACE


def _install() -> None:
    uv = [Path(sys.executable).with_name("uv")]
    made = subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, _PLACE], check=False)
    options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--python", str(_PLACE / "bin" / "python")]
    done = subprocess.run(
        [*uv, "pip", "install", *options, "-r", _LOCK],
        env=_uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode or done.returncode:
        raise NotInstallable(done.stderr.strip())


def _uv_environment() -> dict[str, str]:
    """uv doesn't read pip's settings; a machine may have pointed pip to an index and a certificate of its own."""
    environ = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", **os.environ}
    for setting, pip_variable, variable in (
        ("global.index-url", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("global.cert", "PIP_CERT", "SSL_CERT_FILE"),
    ):
        value = os.environ.get(pip_variable) or _pip_setting(setting)
        if value:
            environ.setdefault(variable, value)
    return environ


def _pip_setting(name: str) -> str:
    done = subprocess.run(
        ["python3", "-m", "pip", "config", "get", name],  # as in the Makefile: the one outside .venv
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
