"""What a campaign prints: its progress, the table at its end, and how to see what went wrong."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from chaos.campaign.checker import KINDS, LostClaim
from chaos.campaign.clients import Submission
from chaos.campaign.havoc import SERVERS, Struck
from chaos.campaign.judging import Outcome

_SHOWN: Final = 20


def print_progress(seconds: float, accepted: int, submissions: Sequence[Submission], struck: Sequence[Struck]) -> None:
    done = ", ".join(f"{what}: {count}" for what, count in sorted(_done(struck).items()))
    print(f"{seconds:5.0f} s  {accepted} of {len(submissions)} submits answered; {done or 'no kills yet'}", flush=True)


def print_table(
    outcome: Outcome, submissions: Sequence[Submission], struck: Sequence[Struck], *, wall_s: float, seed: int
) -> None:
    seconds = _recoveries(outcome.lost_claims, struck)
    claims = Counter(claim.reason for claim in outcome.lost_claims)
    calls = outcome.keys.total()
    rows: dict[str, str] = {
        "runs": f"{outcome.runs}",
        **{what: f"{count}" for what, count in sorted(_done(struck).items())},
        "submits sent again": f"{sum(submission.retries for submission in submissions)}",
        "claims lost": ", ".join(f"{count} {reason}" for reason, count in sorted(claims.items())) or "0",
        "model calls": f"{calls}, {calls - len(outcome.keys)} of them again, before their step was committed",
        "calls over a freeze": f"{outcome.interrupted}",
        "recovery after a kill": f"p50 {_at(seconds, 0.5):.2f} s, p99 {_at(seconds, 0.99):.2f} s ({len(seconds)} runs)",
        "wall time": f"{wall_s:.0f} s",
        "seed": f"{seed}",
    }
    for kind in KINDS:
        rows[kind] = f"{sum(each.kind == kind for each in outcome.violations)}"
    print()
    for name, value in rows.items():
        print(f"{name:24} {value}")


def print_violations(outcome: Outcome, args: argparse.Namespace, kept: Path) -> None:
    """`kept`: where everything is with which they can be explained."""
    print()
    for violation in outcome.violations[:_SHOWN]:
        print(f"{violation.kind}: run {violation.run_id}: {violation.text}")
    if len(outcome.violations) > _SHOWN:
        print(f"… and {len(outcome.violations) - _SHOWN} more")
    options = " ".join(f"--{name} {value:g}" for name, value in vars(args).items())
    print(f"Their runs, the model's log and the stack's logs: {kept}")
    print(f"The same plan again: cd tests && {shlex.quote(sys.executable)} -m chaos.campaign.main {options}")


def keep(outcome: Outcome, struck: Sequence[Struck], log: Path, logs: Path) -> Path:
    """A new folder, with copies of what is needed to explain violations. `log`: of the model; `logs`: of the stack."""
    folder = Path(tempfile.mkdtemp(prefix="flowyard-chaos-failed-"))
    shutil.copy(log, folder / "model.jsonl")
    shutil.copytree(logs, folder / "logs")
    facts = {
        "violations": [asdict(violation) for violation in outcome.violations],
        "struck": [asdict(each) for each in struck],
        "runs": {run_id: asdict(history) for run_id, history in outcome.broken.items()},
    }
    (folder / "violations.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return folder


def _done(struck: Sequence[Struck]) -> Counter[str]:
    return Counter(f"{each.kind}s of {each.process if each.process in SERVERS else 'executors'}" for each in struck)


def _recoveries(claims: Sequence[LostClaim], struck: Sequence[Struck]) -> list[float]:
    """Seconds from the kill of an executor until the next claim, of each run that it had; sorted."""
    return sorted(
        claim.again_at - each.at
        for each in struck
        if each.kind == "kill"
        for claim in claims
        if claim.executor == each.process and claim.claimed_at <= each.at < claim.lost_at
    )


def _at(sorted_values: Sequence[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))] if sorted_values else 0.0
