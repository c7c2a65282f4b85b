"""A workflow that is being written, as text: whether it is valid, its graph, changes, worst cost, and tests."""

from __future__ import annotations

from collections.abc import Iterator

from flowyard.api.drafts import DraftCost, DraftTest, DraftView
from flowyard_cli.show.format import dollars, plural
from flowyard_cli.show.problems import render_problem
from flowyard_cli.show.tables import as_data

_MOST_PROBLEMS = 10


def headline(view: DraftView, number: int) -> str:
    """One line about a version."""
    if not view.valid:
        errors = sum(problem.severity == "error" for problem in view.problems) or len(view.remarks)
        return f"version {number}: not valid, {plural(errors, 'error')}"
    passed = sum(test.passed is True for test in view.tests)
    tests = f"{passed} of {plural(len(view.tests), 'test')} passed" if view.tests else "no tests"
    return f"version {number}: {view.name}, valid, {'tests not run' if view.untested else tests}"


def draft_lines(view: DraftView, number: int, before: int | None) -> Iterator[str]:
    """`before`: the number of the version that it is compared with."""
    yield ""
    yield headline(view, number)
    yield from (f"  {remark}" for remark in view.remarks)
    for problem in view.problems[:_MOST_PROBLEMS]:
        yield f"  {render_problem(as_data(problem), f'version-{number}')}"
    if len(view.problems) > _MOST_PROBLEMS:
        yield f"  … and {len(view.problems) - _MOST_PROBLEMS} more"
    if view.drawing:
        yield from ("", *(f"  {line}" if line else "" for line in view.drawing.splitlines()[2:]))
    if view.difference and before is not None:
        yield from ("", f"changes since version {before}:", *(f"  {line}" for line in view.difference.splitlines()[2:]))
    if view.cost is not None:
        yield from ("", f"a run costs {_cost(view.cost)}")
    yield from (line for test in view.tests for line in _test(test))


def _cost(cost: DraftCost) -> str:
    calls = f", with at most {plural(cost.calls, 'model call')}" if cost.calls is not None else ""
    if cost.usd is not None:
        return f"at most {dollars(cost.usd)}{calls}: {cost.why}"
    replies = f"; its replies at most {dollars(cost.replies_usd)}" if cost.replies_usd is not None else ""
    return f"an amount that isn't known{calls}: {cost.why}{replies}"


def _test(test: DraftTest) -> Iterator[str]:
    verdict = {True: "ok  ", False: "FAIL", None: "?   "}[test.passed]
    yield f"{verdict} {test.name}" + (": not run" if test.passed is None else "")
    yield from (f"       {fault}" for fault in test.faults)
