"""A nats-server that a test may kill, hang, and start again where it was."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from testcontainers.core.container import DockerContainer

from flowyard.bus.subjects import Permissions
from support.images import image_of
from support.waiting import eventually_blocking

BINARY = Path(sys.executable).with_name("nats-server")


class NatsServer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._store = directory / "store"
        self._config = directory / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port: int = chosen.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.let_in({})

    def let_in(self, users: Mapping[str, tuple[str, Permissions]]) -> None:
        """From the next start on: only these, each with a password. None at all: everybody."""
        self._config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f'jetstream {{ store_dir: "{self._store}" }}\n'
            + (
                f"authorization {{ users: [{''.join(_user(name, *user) for name, user in users.items())}] }}\n"
                * bool(users)
            )
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            [BINARY, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Until it takes connections."""
        eventually_blocking(self._listens, pause_s=0.002)

    def _listens(self) -> bool:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def delete_store(self) -> None:
        shutil.rmtree(self._store)

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class NatsFromImage(NatsServer):
    """In a container, on this machine's own network and in the same directory as it would be without."""

    _container: DockerContainer | None = None

    def start(self) -> None:
        container = DockerContainer(image_of("nats")).with_command(["--config", str(self._config)])
        container.with_volume_mapping(self._directory, str(self._directory), "rw")
        self._container = container.with_kwargs(network_mode="host", user=f"{os.getuid()}:{os.getgid()}")
        self._container.start()

    def kill(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None

    def hang(self) -> None:
        assert self._container is not None
        self._container.get_wrapped_container().pause()

    def go_on(self) -> None:
        assert self._container is not None
        self._container.get_wrapped_container().unpause()


def _user(name: str, password: str, permissions: Permissions) -> str:
    def listed(subjects: tuple[str, ...]) -> str:
        return ", ".join(f'"{subject}"' for subject in subjects)

    publish, subscribe = listed(permissions.publish), listed(permissions.subscribe)
    return (
        f'{{ user: "{name}", password: "{password}",'
        f" permissions: {{ publish: [{publish}], subscribe: [{subscribe}] }} }}\n"
    )
