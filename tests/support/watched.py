"""`watched.py SERVICE`: a service that logs for how long its event loop was held, whenever that was longer than before.

Only time in which the process itself computed counts. Other processes of a busy machine lengthen it only where threads
of this one compute while its event loop waits for a processor.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from time import process_time
from typing import Final, NoReturn

from flowyard.telemetry.metrics import ProcessMetrics

HELD: Final = "event loop held"
_TICK_S: Final = 0.01


async def watch(_: ProcessMetrics) -> NoReturn:
    clock, longest = asyncio.get_running_loop().time, 0.0
    while True:
        began, computed = clock(), process_time()
        await asyncio.sleep(_TICK_S)
        held = min(clock() - began, process_time() - computed) - _TICK_S
        if held > longest:
            longest = held
            sys.stdout.write(json.dumps({"event": HELD, "held_s": held}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    ProcessMetrics.watch_loop_lag = watch  # type: ignore[assignment,method-assign]
    service = sys.argv.pop(1)
    import_module(f"flowyard_{service}.main").main()
