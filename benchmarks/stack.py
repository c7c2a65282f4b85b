"""What the whole stack costs: runs per second, time per run, CPU, memory and bytes, each with its target.

`flowyard up` is started in a directory of its own. The work is a chain of three prompts, each an HTTP call to a model
on loopback that answers at once; runs are submitted and awaited over HTTP. Everything shares this machine's cores:
clients, model, databases, services. The floor is bare LangGraph with the same calls and without any storage, in turns
with the stack: what counts are the ratios. The last column is the share of the target: 1.00 or more is met.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final

from measuring import rows
from measuring.rows import Line, Options, OwnRow, Row
from measuring.stack import Failed, scratch

# Measured on the same stack, in this order.
SHARED: Final[dict[str, Row]] = {
    "throughput": rows.durable_throughput,
    "alone": rows.alone,
    "first-step": rows.first_step,
    "model-64": partial(rows.with_model_of_100_ms, runs=64, target=0.95),
    "model-256": partial(rows.with_model_of_100_ms, runs=256, target=0.6),
    "cpu": rows.cpu_per_run,
    "bytes": rows.bytes_per_run,
}
# Each on a stack of its own.
OWN: Final[dict[str, OwnRow]] = {
    "litellm": rows.through_litellm,
    "executors": rows.two_executors,
    "executors-waiting": rows.two_executors_that_wait,
    "start": rows.at_rest,
    "waiting": rows.waiting_runs,
}
SHORT: Final = ("throughput", "alone", "first-step", "model-64", "cpu")
ALL: Final = (*SHARED, *OWN)


async def measure(names: list[str], options: Options) -> list[Line]:
    lines: list[Line] = []
    with scratch() as folder:
        if shared := [row for name, row in SHARED.items() if name in names]:
            lines += await on_a_shared_stack(folder, shared, options)
        for name, row in OWN.items():
            if name in names:
                lines += reported(await row(folder, options))
    return lines


async def on_a_shared_stack(folder: Path, shared: list[Row], options: Options) -> list[Line]:
    async with rows.opened(folder / "shared", options) as subject:
        return [line for row in shared for line in reported(await row(subject))]


def reported(lines: list[Line]) -> list[Line]:
    """A measurement takes minutes: each line is shown as soon as it is there."""
    for line in lines:
        print(f"  {line.what}: {line.measured}", file=sys.stderr, flush=True)
    return lines


def print_table(lines: list[Line]) -> None:
    print("| what | measured | target | of the target |\n| --- | --- | --- | --- |")
    for line in lines:
        reached = "-" if line.reached is None else f"{line.reached:.2f}"
        print(f"| {line.what} | {line.measured} | {line.target} | {reached} |")


def row_names(text: str) -> list[str]:
    names = [*ALL] if text == "all" else text.split(",")
    if unknown := set(names) - {*ALL}:
        raise argparse.ArgumentTypeError(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ALL)}, and all")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        metavar="ROW,…",
        type=row_names,
        default=[*SHORT],
        help=f"of {', '.join(ALL)}, or all, which takes some minutes (default: {','.join(SHORT)})",
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default: 5)")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--singles", type=int, default=200, help="runs for the time of one (default: 200)")
    parser.add_argument("--bytes-runs", type=int, default=2000, help="runs for the bytes of one (default: 2000)")
    args = parser.parse_args()
    options = Options(
        clients=args.clients, seconds=args.seconds, repeat=args.repeat, singles=args.singles, bytes_runs=args.bytes_runs
    )
    lines = asyncio.run(measure(args.only, options))
    print_table(lines)
    return 0 if all(line.reached is None or line.reached >= 1 for line in lines) else 1


if __name__ == "__main__":
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    # As Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Failed as failure:
        sys.exit(str(failure))
