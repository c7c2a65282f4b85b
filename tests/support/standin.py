"""A service that only says that it's healthy, and does what STANDINS says. Starts in a moment."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any


def main() -> int:
    behaviour: dict[str, Any] = json.loads(os.environ.get("STANDINS", "{}")).get(name(), {})
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    log("began", environ={key: value for key, value in os.environ.items() if key.startswith("FLOWYARD_")})
    for number in range(behaviour.get("chatter", 0)):
        log("chatter", number=number, text="x" * 200)
    if "fail" in behaviour:
        log(behaviour["fail"], level="ERROR")
        return 3
    with socket.create_server(("127.0.0.1", int(os.environ["FLOWYARD_PORT"]))) as server:
        threading.Thread(target=answer, args=(server, behaviour), daemon=True).start()
        ending.wait()
        time.sleep(behaviour.get("stop_s", 0))
        log("ended")
    return 0


def name() -> str:
    """Which service this is, by a setting that only this one has."""
    if "FLOWYARD_REGISTRY_URL" in os.environ:
        return "gateway"
    if "FLOWYARD_SANDBOX_NAME" in os.environ:
        return os.environ["FLOWYARD_SANDBOX_NAME"]
    if "FLOWYARD_EXECUTOR_NAME" in os.environ:
        return os.environ["FLOWYARD_EXECUTOR_NAME"]
    # What others can reach has the longer grace.
    return "dashboard" if float(os.environ["FLOWYARD_GRACE_S"]) > 1 else "registry"


def answer(server: socket.socket, behaviour: dict[str, Any]) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 503 no\r\n\r\n" if behaviour.get("ill") else b"HTTP/1.0 200 OK\r\n\r\n")


def log(event: str, *, level: str = "INFO", **fields: Any) -> None:
    line = {"ts": "2026-01-02T03:04:05.678Z", "level": level, "logger": "standin", "event": event, "service": "s"}
    sys.stderr.write(json.dumps({**line, **fields, "at": time.time()}) + "\n")
    sys.stderr.flush()
