"""The process that serves one GGUF file: `python -m flowyard.llm.local_server FILE SLOTS`.

Reads the API key from the first line of stdin, writes its URL as the only line of stdout, logs to stderr, and exits
when stdin is closed. The end of the parent process, for whatever reason, closes it: no server outlives its parent.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import xllamacpp

CONTEXT_TOKENS: Final = 8192
_LOG_ERRORS: Final = 1


def start(file: str, key: str, slots: int) -> xllamacpp.Server:
    """Loads the model; when it returns, the server listens on a free loopback port. Raises RuntimeError."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = slots
    params.kv_unified = True
    # Its threads wait for each other in busy loops: with a thread per core, a busy machine is up to sixty times slower.
    threads = max(1, (os.cpu_count() or 1) // 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Don't expose, or keep in memory, the prompts of other runs.
    params.endpoint_slots = False
    params.cache_ram_mib = 0
    params.ui = False
    params.verbosity = _LOG_ERRORS
    return xllamacpp.Server(params)


def main() -> None:
    key = sys.stdin.readline().strip()
    stdout = os.dup(1)
    # llama.cpp may print to stdout, where the parent reads one line, the URL: send its output to stderr.
    os.dup2(2, 1)
    try:
        server = start(sys.argv[1], key, int(sys.argv[2]))
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    os.write(stdout, f"{server.listening_address}\n".encode())
    sys.stdin.read()
    # Exit at once: the server's destructor would wait for replies that nobody reads any more.
    os._exit(0)


if __name__ == "__main__":
    main()
