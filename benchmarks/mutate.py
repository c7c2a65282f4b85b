"""Breaks the code on purpose, in a copy of the checkout, and prints which breaks no test notices. For `make mutate`.

The list is mutations.toml. Exits with 1 if more than a tenth of the mutations survive. The outcomes are kept in
`.mutate_cache`: the next time, the test that noticed a mutation runs first, and `--resume` skips what is unchanged.
"""

from __future__ import annotations

import argparse
import compileall
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

ROOT: Final = Path(__file__).resolve().parents[1]
LIST: Final = Path(__file__).with_name("mutations.toml")
KEPT: Final = ROOT / ".mutate_cache" / "outcomes.jsonl"
LIMIT: Final = 0.1
"""The part of the mutations that may survive."""
TIME_LIMIT_S: Final = 240.0
"""Of the tests of one mutation. Each test has a limit of its own, so this is reached only if pytest itself hangs."""
_PRELOADED: Final = [
    *("pytest", "hypothesis.stateful", "langgraph.graph", "langgraph.checkpoint.base", "asyncpg", "sqlalchemy"),
    *("alembic", "nats", "aiohttp.web", "httpx", "fastapi", "uvicorn", "pydantic_settings", "prometheus_client"),
]
"""To import them takes longer than most tests."""
_FORKS: Final = multiprocessing.get_context("forkserver")
_NOT_COPIED: Final = (".git", ".venv", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
_SOURCES: Final = ("libs/flowyard/src", *(f"services/{path.name}/src" for path in (ROOT / "services").iterdir()))

Verdict = Literal["killed", "hung", "survived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """`old` becomes `new` in `file`; one of `tests` should fail then. `why`: the reason that none does."""

    name: str
    file: Path
    old: str
    new: str
    tests: tuple[str, ...]
    why: str | None = None

    def problem(self, root: Path = ROOT) -> str | None:
        """Why the mutation doesn't fit the sources any more."""
        path = root / self.file
        if not path.is_file():
            return f"there is no {self.file}"
        count = path.read_text(encoding="utf-8").count(self.old)
        missing = [test for test in self.tests if not _exists(test, root)]
        if count != 1:
            return f"its old text is {count} times in {self.file}"
        return f"there is no test {missing[0]}" if missing else None

    def digest(self, root: Path = ROOT) -> str:
        """Of the mutation, the file that it changes, and its tests: while all of them stay, so does its outcome."""
        files = sorted({self.file, *(Path(test.partition("::")[0]) for test in self.tests)})
        contents = [(root / file).read_bytes() for file in files]
        return sha256(repr((self.name, self.old, self.new, self.tests, contents)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`noticed`: the test that failed, without its parameters, or the file that can't be imported."""

    mutation: Mutation
    verdict: Verdict
    seconds: float
    noticed: str | None


def read_mutations(path: Path = LIST) -> list[Mutation]:
    """In the order of the list. A file is named as in docs/map.md, and a test below `tests/`."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Mutation(
            name=entry["name"],
            file=_file(entry["file"]),
            old=entry["old"],
            new=entry["new"],
            tests=tuple(f"tests/{test}" for test in entry["tests"]),
            why=entry.get("why"),
        )
        for entry in content["mutation"]
    ]


def _file(name: str) -> Path:
    """`storage/claims.py` is the library's, `executor: sweeper.py` is a service's."""
    service, _, path = name.rpartition(": ")
    package = f"services/{service}/src/flowyard_{service}" if service else "libs/flowyard/src/flowyard"
    return Path(package) / path


def _exists(test: str, root: Path) -> bool:
    file, _, function = test.partition("::")
    if not (root / file).is_file():
        return False
    return not function or f"def {function}(" in (root / file).read_text(encoding="utf-8")


def mutate(mutation: Mutation, checkout: Path, *, first: str | None) -> Outcome:
    """`checkout`: a copy, which is as it was afterwards. `first`: the test that noticed the mutation before."""
    tests = (first, *mutation.tests) if first is not None and _exists(first, checkout) else mutation.tests
    target = checkout / mutation.file
    original = target.read_text(encoding="utf-8")
    target.write_text(original.replace(mutation.old, mutation.new), encoding="utf-8")
    started = time.monotonic()
    try:
        code, output = run_tests(tests, checkout, within_s=TIME_LIMIT_S)
        if code and "\nERROR tests" in output:
            # A server that didn't start is no test that failed.
            code, output = run_tests(tests, checkout, within_s=TIME_LIMIT_S)
    finally:
        target.write_text(original, encoding="utf-8")
    failed = next((line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR tests"))), "")
    if code is None or ": Failed: Timeout" in output or "Timeout (>" in failed:
        verdict: Verdict = "hung"
    else:
        verdict = "killed" if code else "survived"
    return Outcome(mutation, verdict, time.monotonic() - started, _test(failed))


def _test(line: str) -> str | None:
    """`FAILED tests/test_it.py::test_this[parameters] - AssertionError` names tests/test_it.py::test_this."""
    words = line.split(" ", 2)
    return words[1].partition("[")[0] if len(words) > 1 else None


def run_tests(tests: Iterable[str], checkout: Path, *, within_s: float) -> tuple[int | None, str]:
    """pytest's exit code, None if it took too long, and what it printed. Raises SystemExit if pytest ran no test."""
    printed = checkout / "printed.txt"
    process = _FORKS.Process(target=_pytest, args=(list(tests), str(checkout), str(printed)))
    process.start()
    process.join(within_s)
    if process.is_alive() and process.pid is not None:
        # Interrupted, so that it stops the servers that it has started.
        os.kill(process.pid, signal.SIGINT)
        process.join(30)
        process.kill()
        process.join()
        return None, printed.read_text(encoding="utf-8")
    # 2: a file can't be imported, which kills a mutation too. Others: pytest wasn't called as it should be.
    if process.exitcode not in (0, 1, 2):
        raise SystemExit(f"pytest failed with {process.exitcode}:\n{printed.read_text(encoding='utf-8')}")
    return process.exitcode, printed.read_text(encoding="utf-8")


def _pytest(tests: Sequence[str], checkout: str, printed: str) -> None:
    """Runs in a process of its own, which was forked when everything but our code was imported."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sources = [str(Path(checkout) / source) for source in _SOURCES]
    sys.path[:0] = sources
    # For the processes that tests start. What is compiled belongs to the code without mutations.
    os.environ.update(PYTHONPATH=os.pathsep.join(sources), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    os.chdir(checkout)
    with Path(printed).open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        pytest = import_module("pytest")
        # Without a rewriting of asserts, which takes longer than most of the tests.
        code = pytest.main(["-x", "-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider", *tests])
        sys.stdout.flush()
    sys.exit(int(code))


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Copies of the checkout."""
    with tempfile.TemporaryDirectory(prefix="flowyard-mutate-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = Path(folder) / str(number)
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
            compileall.compile_dir(copy, quiet=2)
            free.put(copy)
        yield free


def run(mutations: Sequence[Mutation], jobs: int, *, resume: bool) -> list[Outcome]:
    """Raises SystemExit if a test that has noticed a mutation fails without any, too."""
    _FORKS.set_forkserver_preload(_PRELOADED)
    kept = read_kept()
    done = [_outcome(m, kept[m.name]) for m in mutations if resume and kept.get(m.name, {}).get("digest") == m.digest()]
    names = {outcome.mutation.name for outcome in done}
    with copies(jobs) as free, ThreadPoolExecutor(jobs) as threads:

        def work(mutation: Mutation) -> Outcome:
            checkout = free.get()
            try:
                outcome = mutate(mutation, checkout, first=kept.get(mutation.name, {}).get("noticed"))
            finally:
                free.put(checkout)
            keep(outcome)
            print(_line(outcome), flush=True)
            return outcome

        done += threads.map(work, [mutation for mutation in mutations if mutation.name not in names])
        noticed = sorted({outcome.noticed for outcome in done if outcome.noticed is not None})
        print(f"without a mutation: {len(noticed)} tests", flush=True)
        code, output = run_tests(noticed, free.get(), within_s=10 * TIME_LIMIT_S) if noticed else (0, "")
    if code != 0:
        raise SystemExit(f"tests fail without a mutation, too:\n{output}")
    return done


def read_kept() -> dict[str, dict[str, Any]]:
    """The last outcome of each mutation, by its name."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    return {kept["name"]: kept for kept in map(json.loads, lines)}


def keep(outcome: Outcome) -> None:
    facts = {name: value for name, value in asdict(outcome).items() if name != "mutation"}
    named = {"name": outcome.mutation.name, "digest": outcome.mutation.digest(), **facts}
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(named)}\n")


def _outcome(mutation: Mutation, kept: dict[str, Any]) -> Outcome:
    return Outcome(mutation, kept["verdict"], kept["seconds"], kept["noticed"])


def _line(outcome: Outcome) -> str:
    return f"{outcome.verdict:<9}{outcome.seconds:5.0f} s  {outcome.mutation.name}  {outcome.noticed or ''}"


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    count = {verdict: sum(outcome.verdict == verdict for outcome in outcomes) for verdict in ("killed", "hung")}
    survivors = [outcome.mutation for outcome in outcomes if outcome.verdict == "survived"]
    lines = [f"  {each.name} ({each.file.name}): {each.why or 'no reason is given'}" for each in survivors]
    head = f"{len(outcomes)} mutations in {seconds / 60:.0f} min: {count['killed']} killed, {count['hung']} hung"
    return "\n".join([f"{head}, {len(survivors)} survived", *lines])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", action="append", metavar="TEXT", help="only mutations with this text in their name")
    parser.add_argument("--list", action="store_true", help="print the mutations, and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at the same time (2)")
    parser.add_argument("--resume", action="store_true", help="skip mutations whose outcome is kept and still holds")
    given = parser.parse_args(arguments)
    mutations = [m for m in read_mutations() if not given.only or any(text in m.name for text in given.only)]
    stale = [f"{mutation.name}: {problem}" for mutation in mutations if (problem := mutation.problem())]
    if stale:
        raise SystemExit("\n".join(stale))
    if given.list:
        print("\n".join(f"{mutation.name}  ({mutation.file})" for mutation in mutations))
        return 0
    started = time.monotonic()
    outcomes = run(mutations, given.jobs, resume=given.resume)
    print(f"\n{summary(outcomes, time.monotonic() - started)}")
    survived = sum(outcome.verdict == "survived" for outcome in outcomes)
    return int(survived > LIMIT * len(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
