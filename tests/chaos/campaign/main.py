"""Many runs while their processes are killed and frozen, and then the question what has become of each of them.

A stack is started in a directory of its own, with a model on loopback. Clients submit runs of four workflows; meanwhile
executors are killed and frozen, and Postgres, NATS and the gateway are killed, by a plan that follows from `--seed`. At
the end a checker reads the API and the model's log, and nothing else. Exits with 1 if it finds a violation.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from chaos.campaign.checker import Violation
from chaos.campaign.clients import Gateway, Submission
from chaos.campaign.havoc import Havoc, everything_is_healthy, plan
from chaos.campaign.judging import Outcome, judge
from chaos.campaign.model import model_process, read_log
from chaos.campaign.report import keep, print_progress, print_table, print_violations
from chaos.campaign.shapes import SHAPES
from support.system import Embedded, embedded

LEASE_S: Final = 2.0
_SETTINGS: Final = {"FLOWYARD_LEASE_S": f"{LEASE_S:g}", "FLOWYARD_SLOTS": "64", "FLOWYARD_QUEUE_LIMIT": "100000"}
_PROGRESS_EVERY_S: Final = 5.0
_SETTLE_S: Final = 3.0
"""Longer than a process that was frozen needs to write down which calls it has made."""
_READ_S: Final = 60.0
_READ_RUN_S: Final = 0.05
"""How long the checker may take: a base, and for each run."""
_AHEAD: Final = 0.1
"""By which share of all runs the submits may be ahead of the plan, when that is late."""


@dataclass
class Campaign:
    """`problems`: what has gone wrong with the campaign as a whole."""

    args: argparse.Namespace
    system: Embedded
    submissions: Sequence[Submission]
    havoc: Havoc
    accepted: int = 0
    problems: tuple[str, ...] = ()


def main() -> int:
    args, began = _arguments(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowyard-chaos-") as folder:
        log = Path(folder) / "model.jsonl"
        with model_process(log) as model, embedded(_SETTINGS, executors=args.executors) as system:
            campaign = _prepare(args, system)
            outcome = asyncio.run(_carry_out(campaign, model, log))
            struck = campaign.havoc.struck
            print_table(outcome, campaign.submissions, struck, wall_s=time.monotonic() - began, seed=args.seed)
            if outcome.violations:
                print_violations(outcome, args, keep(outcome, struck, log, system.home / "logs"))
    return int(bool(outcome.violations))


def _prepare(args: argparse.Namespace, system: Embedded) -> Campaign:
    rng = random.Random(args.seed)
    blows = plan(
        rng,
        seconds=args.seconds,
        executors=[f"executor-{number + 1}" for number in range(args.executors)],
        kills=args.kills,
        freezes=args.freezes,
        each_server=args.servers,
        lease_s=LEASE_S,
    )
    # Some clients wait for the end of their run, some send everything twice, some follow the events.
    submissions = [
        Submission(
            SHAPES[n % len(SHAPES)],
            f"w{n}",
            wait_s=rng.choice((0.0, 20.0)),
            is_sent_twice=rng.random() < 0.1,
            is_followed=rng.random() < 0.2,
        )
        for n in range(args.runs)
    ]
    return Campaign(args, system, submissions, Havoc(system.home, blows))


async def _carry_out(campaign: Campaign, model: str, log: Path) -> Outcome:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=campaign.system.headers) as session:
        gateway = Gateway(session, campaign.system.url)
        try:
            async with asyncio.timeout(campaign.args.limit):
                await _execute(campaign, gateway, model)
        except TimeoutError:
            campaign.problems = (f"it wasn't over after {campaign.args.limit:g} s",)
        thaws = [each.until for each in campaign.havoc.struck if each.kind == "freeze"]
        async with asyncio.timeout(_READ_S + _READ_RUN_S * campaign.args.runs):
            outcome = await judge(gateway, campaign.submissions, read_log(log), thaws)
    outcome.violations += [Violation("lost", "-", problem) for problem in campaign.problems]
    return outcome


async def _execute(campaign: Campaign, gateway: Gateway, model: str) -> None:
    """Returns when all runs have ended and everything is healthy again."""
    for shape in SHAPES:
        llm = f"{{provider: hosted_vllm, model: m, api_base: '{model}'}}"
        await gateway.apply(shape.name, shape.document.replace("MODEL", llm))
    progress = asyncio.create_task(_show_progress(campaign))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(campaign.havoc.run())
            tasks.create_task(_submit_all(campaign, gateway))
        while await gateway.open_runs() or not everything_is_healthy(campaign.system.home):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await asyncio.sleep(_SETTLE_S)
    finally:
        progress.cancel()


async def _submit_all(campaign: Campaign, gateway: Gateway) -> None:
    """Evenly over the seconds of the plan; later if the plan itself is late."""
    begun = time.monotonic()

    async def submit(submission: Submission) -> None:
        await gateway.submit(submission)
        campaign.accepted += 1
        if submission.is_followed and submission.run_ids:
            await gateway.follow(submission)

    async with asyncio.TaskGroup() as tasks:
        for number, submission in enumerate(campaign.submissions):
            share = number / len(campaign.submissions)
            await asyncio.sleep(max(0.0, begun + share * campaign.args.seconds - time.monotonic()))
            while share > campaign.havoc.share_done + _AHEAD:  # noqa: ASYNC110  # what happens to processes sets no event
                await asyncio.sleep(0.1)
            tasks.create_task(submit(submission))


async def _show_progress(campaign: Campaign) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(_PROGRESS_EVERY_S)
        print_progress(time.monotonic() - begun, campaign.accepted, campaign.submissions, campaign.havoc.struck)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the plan")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=200, help="over which runs, kills and freezes are spread")
    parser.add_argument("--executors", type=int, default=3)
    parser.add_argument("--kills", type=int, default=40, help="of executors")
    parser.add_argument("--freezes", type=int, default=60, help="of executors")
    parser.add_argument("--servers", type=int, default=3, help="kills of Postgres, NATS and the gateway, each")
    parser.add_argument("--limit", type=float, default=260, help="seconds after which it ends, with runs open or not")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
