"""`flowyard ask`: what became of a run, and why, in words, with the sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from flowyard.api.answering import OutgoingMessage, ReceivedAnswer
from flowyard.api.client import Client
from flowyard.errors.requests import InvalidInputs
from flowyard_cli import exits
from flowyard_cli.asking.facts import gather
from flowyard_cli.asking.preparing import NAME, prepare, room_for
from flowyard_cli.asking.sources import MOST_BYTES, NumberedFacts, cited
from flowyard_cli.asking.subject import Subject, find_subject
from flowyard_cli.grammar import StackArgs, carry_out, integer, stack_command
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.dim import say_dim
from flowyard_cli.talking.answer import answer_as_data, connection_lost, facts_of, show_answer
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard ask 'Why did run 019adf3c fail?'
  flowyard ask 'Why did the last run of triage fail?'
  flowyard ask 'Which step cost most, and why?' --run last
  flowyard ask 'What took so long?' --model openai/gpt-4o-mini
  flowyard ask 'Why did it fail?' --facts         only print what a model would get

The run is the one that the question names by its id (six characters or more), else the last one of the workflow that
it names, and if it is about a failure, the last one that has failed. Its events, steps, calls, limits and document are
gathered by the API, where secrets are masked, and answered by a workflow of the stack, 'ask', as an ordinary run. If
the stack doesn't have it, it is applied: that needs a key with the scope write."""
_LEAST_BYTES: Final = 2_000


@dataclass(frozen=True, kw_only=True)
class AskArgs(StackArgs):
    """`run`: an id, its beginning, or `last`. `most_bytes`: of the facts; None: what its model can take."""

    question: Sequence[str]
    run: str | None
    model: str | None
    most_bytes: int | None
    facts: bool


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument("question", metavar="QUESTION", nargs="+", help="in your words; best in quotes")
    parser.add_argument("--run", metavar="ID", help="the run: an id, its beginning, or: last")
    parser.add_argument(
        "--model", metavar="PROVIDER/MODEL", help="who answers (default: the model of the run's workflow); it is kept"
    )
    parser.add_argument(
        "--most-bytes",
        metavar="N",
        type=integer(_LEAST_BYTES, MOST_BYTES),
        help=f"how much a model gets (default: {MOST_BYTES:,}; the local model: 12,000)",
    )
    parser.add_argument("--facts", action="store_true", help="print the facts, and ask no model")
    carry_out(parser, AskArgs, partial(at_the_stack, _ask))


def _ask(client: Client, args: AskArgs) -> int:
    question = " ".join(args.question).strip()
    if not question:
        raise InvalidInputs(["the question is empty"])
    subject = find_subject(client, question, args.run)
    if not args.json:
        run = subject.run
        say_dim(f"about run {run.id} of {run.workflow} ({run.status}): {subject.why}")
    if args.facts:
        return _show_facts(args, subject, gather(client, args, subject.run, most_bytes=args.most_bytes or MOST_BYTES))
    model = prepare(client, subject.run, model=args.model)
    sources = gather(client, args, subject.run, most_bytes=args.most_bytes or room_for(model) or MOST_BYTES)
    if sources.left_out and not args.json:
        say_dim(f"not among the facts: {', '.join(sources.left_out)}")
    request = OutgoingMessage(workflow=NAME, text=question, metadata={"facts": sources.text})
    answer = ReceivedAnswer(client, request, on_break=connection_lost)
    try:
        show_answer(client, answer, showing="nothing" if args.json else "answer")
    except KeyboardInterrupt:
        if args.json:
            print_json({"status": "cancelled"})
        return exits.CANCELLED
    if args.json:
        print_json(_as_data(subject, question, sources, answer_as_data(client, NAME, answer)))
        return exits.OK
    _show_sources(sources, cited(answer.text))
    say_dim(facts_of(client, answer))
    return exits.OK


def _show_facts(args: AskArgs, subject: Subject, sources: NumberedFacts) -> int:
    if args.json:
        print_json({"run_id": str(subject.run.id), "chosen": subject.why, **_sources_as_data(sources, ())})
    else:
        put(sources.text)
    return exits.OK


def _show_sources(sources: NumberedFacts, numbers: Sequence[int]) -> None:
    if not numbers:
        say("flowyard: the answer names no sources")
        return
    put("\nsources:")
    for number in numbers:
        if 1 <= number <= len(sources.facts):
            fact = sources.facts[number - 1]
            put(f"[{number}] {fact.title}\n    {fact.where}")
        else:
            put(f"[{number}] there is no such source: don't rely on what the answer takes from it")


def _as_data(subject: Subject, question: str, sources: NumberedFacts, answer: dict[str, Any]) -> dict[str, Any]:
    numbers = cited(answer["answer"])
    about = {"run_id": str(subject.run.id), "workflow": subject.run.workflow, "chosen": subject.why}
    unknown = [number for number in numbers if not 1 <= number <= len(sources.facts)]
    said = {"answer": answer["answer"], "refusal": answer["refusal"], "finish_reason": answer["finish_reason"]}
    spent = {"answered_by": answer["run_id"], "tokens": answer["tokens"], "cost_usd": answer["cost_usd"]}
    return {
        **about, "question": question, **said, **_sources_as_data(sources, numbers), "unknown_sources": unknown, **spent
    }  # fmt: skip


def _sources_as_data(sources: NumberedFacts, numbers: Sequence[int]) -> dict[str, Any]:
    listed = [
        {"number": i, "title": fact.title, "where": fact.where, "lines": list(fact.lines), "cited": i in numbers}
        for i, fact in enumerate(sources.facts, start=1)
    ]
    return {"sources": listed, "left_out": list(sources.left_out)}
