"""Problems of documents as text, JSON and SARIF 2.1.0 (the OASIS format that code hosts read)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from flowyard.language.load import Loaded
from flowyard.language.problems import Position, Problem


def problems_as_data(document: Loaded) -> Iterator[dict[str, Any]]:
    return (problem.as_data(document.file) for problem in document.problems)


def render_problem(problem: Mapping[str, Any], file: str) -> str:
    """A problem in JSON, from the stack, as `flowyard validate` prints it."""
    position = Position(problem["line"], problem["column"])
    decoded = Problem(problem["code"], problem["message"], position, problem["suggestion"], problem["severity"])
    return decoded.render(file)


def sarif(documents: Sequence[Loaded]) -> dict[str, Any]:
    """One SARIF log with one run."""
    problems = [(d.file, p) for d in documents for p in d.problems]
    rules = sorted({p.code for _, p in problems})
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "flowyard",
                        "version": version("flowyard-embedded"),
                        "rules": [{"id": rule} for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(file, problem, rules) for file, problem in problems],
            }
        ],
    }


def _sarif_result(file: str, problem: Problem, rules: list[str]) -> dict[str, Any]:
    text = problem.message + (f" ({problem.suggestion})" if problem.suggestion else "")
    region = {"startLine": problem.position.line, "startColumn": problem.position.column}
    place = {"artifactLocation": {"uri": quote(file)}, "region": region}
    return {
        "ruleId": problem.code,
        "ruleIndex": rules.index(problem.code),
        "level": problem.severity,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
