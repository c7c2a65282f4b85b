"""The four workflows of a campaign, and what each run must do: the model's replies follow from its prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_EXECUTION: Final = "config: {llm: MODEL, execution: {max_attempts: 100}}\n"
_CHAIN: Final = """\
flow: {name: chain}
state: {fields: {word: {type: str, required: true}, one: str, two: str, three: str}}
nodes:
  - {id: first, prompt: 'First {word}.', outputs: [one]}
  - {id: second, prompt: 'Second {one}.', outputs: [two]}
  - {id: third, prompt: 'Third {two}.', outputs: [three]}
"""
_FORK: Final = """\
flow: {name: fork}
state:
  fields:
    word: {type: str, required: true}
    begun: str
    notes: {type: 'list[str]', reduce: append}
    joined: str
nodes:
  - {id: begin, prompt: 'Begin {word}.', outputs: [begun]}
  - {id: left, prompt: 'Left {begun}.', outputs: [notes]}
  - {id: more, prompt: 'More {notes}.', outputs: [notes]}
  - {id: right, prompt: 'Right {begun}.', outputs: [notes]}
  - {id: join, prompt: 'Join {notes}.', outputs: [joined]}
edges:
  - {from: START, to: begin}
  - {from: begin, to: [left, right]}
  - {from: left, to: more}
  - {from: [more, right], to: join}
  - {from: join, to: END}
"""
_MAP: Final = """\
flow: {name: map}
state: {fields: {words: {type: 'list[str]', required: true}, each: str, all: 'list[str]', total: str}}
nodes:
  - {id: work, prompt: 'Work on {item}.', outputs: [each]}
  - {id: sum, prompt: 'Sum {all}.', outputs: [total]}
edges:
  - {from: START, parallel: {items_field: words, target_node: work, collect_field: all, max_concurrency: 3}}
  - {from: work, to: sum}
  - {from: sum, to: END}
"""
_LOOP: Final = """\
flow: {name: loop}
state:
  fields:
    word: {type: str, required: true}
    text: {type: str, default: ''}
    verdict: {type: str, default: ''}
    kind: str
    last: str
nodes:
  - {id: draft, prompt: 'Draft {word} {text}.', outputs: [text]}
  - {id: judge, prompt: 'Judge {text}.', outputs: [verdict]}
  - {id: sort, prompt: 'Sort {text}.', outputs: [kind]}
  - {id: even, prompt: 'Even {text}.', outputs: [last]}
  - {id: odd, prompt: 'Odd {text}.', outputs: [last]}
edges:
  - {from: START, to: draft}
  - {from: draft, to: judge}
  - {from: judge, loop: {to: draft, until: "verdict == 'stop'", max_iterations: 3, exit_to: sort}}
  - from: sort
    routes:
      - {if: "kind == 'even'", to: even}
      - {default: odd}
  - {from: [even, odd], to: END}
"""


def reply_to(prompt: str) -> str:
    """What the model replies. A function of the prompt alone, so that the outputs of a run follow from its inputs."""
    word, number = prompt.split(maxsplit=1)[0], _number(prompt)
    match word:
        case "Judge":
            return "stop" if number % 2 else "again"
        case "Sort":
            return "odd" if number % 2 else "even"
        case _:
            return f"{word.lower()}-{number % 16**8:08x}"


def reply_delay_s(prompt: str) -> float:
    return 0.05 + _number(prompt) // 7 % 300 / 1000


def _number(prompt: str) -> int:
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6])


def step_name(facts: Mapping[str, Any]) -> str:
    item = facts.get("item")
    return f"{facts['node']}:{facts['visit']}" + (f".{item}" if item is not None else "")


@dataclass(frozen=True)
class Call:
    """A step that a run has to do. `step`: as `node:visit[.item]`; `after`: the steps whose results it waits for."""

    step: str
    prompt: str
    after: frozenset[str]


@dataclass(frozen=True)
class Expected:
    """What a run comes to: its steps, by name, and its outputs."""

    calls: Mapping[str, Call]
    outputs: Mapping[str, Any]


class _Script:
    """Writes down the steps of a run, each after those that it waits for."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    def ask(self, step: str, prompt: str, *after: str) -> str:
        """The reply."""
        before = frozenset(after).union(*(self.calls[name].after for name in after))
        self.calls[step] = Call(step, prompt, before)
        return reply_to(prompt)


def _chain(word: str) -> Expected:
    script = _Script()
    first = script.ask("first:1", f"First {word}.")
    second = script.ask("second:1", f"Second {first}.", "first:1")
    third = script.ask("third:1", f"Third {second}.", "second:1")
    return Expected(script.calls, {"one": first, "two": second, "three": third})


def _fork(word: str) -> Expected:
    script = _Script()
    begun = script.ask("begin:1", f"Begin {word}.")
    left = script.ask("left:1", f"Left {begun}.", "begin:1")
    more = script.ask("more:1", f"More {json.dumps([left])}.", "left:1")
    right = script.ask("right:1", f"Right {begun}.", "begin:1")
    # The branches' writes come together in the order of the document, whichever branch ended first.
    notes = [left, more, right]
    joined = script.ask("join:1", f"Join {json.dumps(notes)}.", "more:1", "right:1")
    return Expected(script.calls, {"begun": begun, "notes": notes, "joined": joined})


def _map(words: Sequence[str]) -> Expected:
    script = _Script()
    items = [f"work:1.{n}" for n in range(len(words))]
    results = [script.ask(item, f"Work on {word}.") for item, word in zip(items, words, strict=True)]
    total = script.ask("sum:1", f"Sum {json.dumps(results)}.", *items)
    return Expected(script.calls, {"all": results, "total": total})


def _loop(word: str) -> Expected:
    script, text, verdict = _Script(), "", ""
    last: tuple[str, ...] = ()
    for visit in (1, 2, 3):
        text = script.ask(f"draft:{visit}", f"Draft {word} {text}.", *last)
        verdict = script.ask(f"judge:{visit}", f"Judge {text}.", f"draft:{visit}")
        last = (f"judge:{visit}",)
        if verdict == "stop":
            break
    kind = script.ask("sort:1", f"Sort {text}.", *last)
    written = script.ask(f"{kind}:1", f"{kind.capitalize()} {text}.", "sort:1")
    return Expected(script.calls, {"text": text, "verdict": verdict, "kind": kind, "last": written})


@dataclass(frozen=True)
class Shape:
    """A workflow. `inputs`: of its run of this number; `expected`: what that run comes to."""

    name: str
    document: str
    inputs: Callable[[str], Mapping[str, Any]]
    expected: Callable[[str], Expected]


def _words(word: str) -> list[str]:
    return [f"{word}-{n}" for n in range(3 + _number(word) % 4)]


SHAPES: Final = (
    Shape("chain", _CHAIN + _EXECUTION, lambda word: {"word": word}, _chain),
    Shape("fork", _FORK + _EXECUTION, lambda word: {"word": word}, _fork),
    Shape("map", _MAP + _EXECUTION, lambda word: {"words": _words(word)}, lambda word: _map(_words(word))),
    Shape("loop", _LOOP + _EXECUTION, lambda word: {"word": word}, _loop),
)
