"""A document as facts: its parts with the numbers of their lines, and the limits that are in force by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from flowyard.api.runs import RunView
from flowyard.language.load import load_text
from flowyard.language.nodes import Goto, Node, PromptNode
from flowyard.language.workflow import Workflow
from flowyard_cli.asking.sources import Fact, facts_in, shortened
from flowyard_cli.show.format import seconds

_MOST_LINES: Final = 120
_MOST_LINE: Final = 300
_KEY: Final = re.compile(r"[A-Za-z_'\"]")
_LISTS: Final = ("nodes", "edges", "tests")
_ITEM: Final = re.compile(r"\s*- ")


def workflow_of(text: str) -> Workflow | None:
    """None: this version refuses the document."""
    return load_text(text, "document").workflow


def document_facts(run: RunView, text: str, *, show: str) -> Iterator[Fact]:
    """`show`: the command that prints the document."""
    lines = text.splitlines()
    begins = _begins(lines)
    for begin, end in pairwise([*begins, len(lines)]):
        part = lines[begin:end]
        while part and not part[-1].strip():
            part.pop()
        if not part:
            continue
        place = f"{run.workflow}.yaml:{begin + 1}"
        of_node = run.error is not None and run.error.node is not None and _names(part, run.error.node)
        yield Fact(
            title=f"document of revision {run.revision}, {place}",
            lines=_numbered(part, begin + 1),
            where=f"{place} (revision {run.revision}; {show})",
            kind="part of the document",
            rank=(0 if of_node else 2, begin),
        )


def _begins(lines: list[str]) -> list[int]:
    """The lines, from 0, that begin a part: a key of the document, or an item of its long lists."""
    begins, key, indent = [0], "", -1
    for i, line in enumerate(lines):
        if _KEY.match(line):
            key, indent = line.partition(":")[0].strip("'\" "), -1
            begins.append(i)
        elif key in _LISTS and _ITEM.match(line):
            at = line.index("-")
            if indent < 0:
                # The first item stands with its key.
                indent = at
            elif at == indent:
                begins.append(i)
    return sorted(set(begins))


def _names(part: list[str], node: str) -> bool:
    return any(re.search(rf"\bid:\s*['\"]?{re.escape(node)}\b", line) for line in part)


def _numbered(part: list[str], first: int) -> list[str]:
    shown = part if len(part) <= _MOST_LINES else [*part[: _MOST_LINES - 20], "…", *part[-20:]]
    numbers = [*range(first, first + len(part))]
    kept = numbers if len(part) <= _MOST_LINES else [*numbers[: _MOST_LINES - 20], 0, *numbers[-20:]]
    return [f"{number or '':>4}| {shortened(line, _MOST_LINE)}" for number, line in zip(kept, shown, strict=True)]


def limits_fact(run: RunView, workflow: Workflow, *, show: str) -> Fact:
    """What bounds a run, with the values that a document doesn't have to write."""
    execution, budget = workflow.execution, workflow.budget
    of_run = facts_in(
        [
            ("timeout of the run", seconds(execution.timeout) if execution.timeout is not None else "none"),
            ("attempts after a lost executor", execution.max_attempts),
            ("runs at once", execution.concurrency),
            ("budget in US dollars", str(budget.usd) if budget is not None and budget.usd is not None else "no limit"),
            ("budget of tokens", budget.tokens if budget is not None and budget.tokens is not None else "no limit"),
            ("budget of model calls", _calls(workflow)),
        ],
        most=_MOST_LINE,
    )
    return Fact(
        title="limits in force, with the usual values of what the document doesn't say",
        lines=[*of_run, *(_limits_of(node) for node in workflow.nodes.values())],
        where=f"{run.workflow}.yaml, config (revision {run.revision}; {show})",
        kind="list of limits",
        rank=(0, 0),
    )


def _calls(workflow: Workflow) -> int | str:
    budget = workflow.budget
    return budget.model_calls if budget is not None and budget.model_calls is not None else "no limit"


def _limits_of(node: Node) -> str:
    parts = [f"at most {node.retry.max_retries} retries"]
    parts += [f"timeout {seconds(node.timeout)}"] if node.timeout is not None else ["no timeout"]
    if isinstance(node, PromptNode):
        settings = node.settings
        models = ", then ".join(map(str, node.models))
        most = f"at most {settings.max_tokens} tokens" if settings.max_tokens is not None else "no max_tokens"
        parts = [f"model {models}", f"{seconds(settings.timeout)} per call", most, *parts]
    after = f"goes to {node.on_error.node}" if isinstance(node.on_error, Goto) else node.on_error
    return f"node {node.id} ({node.kind}): {', '.join(parts)}; on an error: {after}"
