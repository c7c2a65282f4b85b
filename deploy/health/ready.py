"""`ready.py PORT [PATH]`: exits with 0 if the server in this container says that it is ready.

Without PATH it is a server of ours: if it accepts connections and answers none, it hangs, and is killed. Docker starts
a container again that has ended, and not one that is unhealthy.

It runs every few seconds in every container, so it imports as little as possible.
"""

import os
import signal
import socket
import sys


def answer_of(path: str, *, within_s: float) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % (path.encode(), port)
        )
        return b"".join(iter(lambda: connection.recv(65536), b""))


def kill_if_silent() -> None:
    # pathlib would take longer to import than all of this takes.
    with open("/proc/1/comm", encoding="ascii") as name:  # noqa: PTH123
        if name.read().strip() != "docker-init":
            return
    # A busy machine may be slow once.
    for _ in range(2):
        try:
            answer_of("/health/live", within_s=2)
        except TimeoutError:
            continue
        return
    with open("/proc/1/task/1/children", encoding="ascii") as children:  # noqa: PTH123
        pids = [int(pid) for pid in children.read().split()]
    sys.stderr.write(f"port {port}: it doesn't answer and is killed\n")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


port, path = int(sys.argv[1]), (sys.argv[2:] or ["/health/ready"])[0]
try:
    # The checks of a service of ours take up to two seconds.
    answer = answer_of(path, within_s=4 if sys.argv[2:] else 2.5)
except TimeoutError:
    if not sys.argv[2:]:
        kill_if_silent()
    sys.exit(f"port {port}: no answer")
except OSError as error:
    sys.exit(f"port {port}: {error}")
if answer[9:12] != b"200":
    # What docker inspect shows: the checks that failed.
    sys.exit(answer.decode(errors="replace"))
