"""`ready.py PORT [PATH]`: exits with 0 if the server in this container says that it is ready.

It runs every few seconds in every container, so it imports as little as possible.
"""

import socket
import sys

port, path = int(sys.argv[1]), (sys.argv[2:] or ["/health/ready"])[0]
try:
    with socket.create_connection(("127.0.0.1", port), timeout=4) as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % (path.encode(), port)
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
except OSError as error:
    sys.exit(f"port {port}: {error}")
if answer[9:12] != b"200":
    # What docker inspect shows: the checks that failed.
    sys.exit(answer.decode(errors="replace"))
