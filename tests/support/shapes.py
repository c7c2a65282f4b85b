"""Documents of every shape, and what is on disk of their runs."""

from __future__ import annotations

from collections import Counter
from typing import Final
from uuid import UUID

from support.stored import Stored
from support.workflows import document

CHAIN: Final = document("a b c")
FORK: Final = document(
    "a b c d",
    edges="""
    - {from: START, to: a}
    - {from: a, to: [b, c]}
    - {from: [b, c], to: d}
    - {from: d, to: END}
    """,
)
LOOP: Final = document(
    "a b c",
    edges="""
    - {from: START, to: a}
    - {from: a, to: b}
    - {from: b, loop: {to: a, until: "iterations('b') >= 3", max_iterations: 5, exit_to: c}}
    - {from: c, to: END}
    """,
)
MAP: Final = document(
    "a z",
    fields="""
    items: {type: 'list[str]', default: [p, q, r, s]}
    each: str
    all: 'list[str]'
    """,
    nodes="- {id: work, prompt: 'work on {item}', outputs: [each]}",
    edges="""
    - {from: START, to: a}
    - {from: a, parallel: {items_field: items, target_node: work, collect_field: all}}
    - {from: work, to: z}
    - {from: z, to: END}
    """,
)
ROUTES: Final = document(
    "a b c",
    edges="""
    - {from: START, to: a}
    - {from: a, routes: [{if: "a == 'a'", to: b}, {default: c}]}
    - {from: b, to: END}
    - {from: c, to: END}
    """,
)
NESTED: Final = document(
    "s a b c d k j z",
    fields="items: {type: 'list[str]', default: [p, q, r]}\neach: str\nall: 'list[str]'",
    nodes="- {id: work, prompt: 'work on {item}', outputs: [each]}",
    edges="""
    - {from: START, to: s}
    - {from: s, to: [a, b]}
    - {from: a, parallel: {items_field: items, target_node: work, collect_field: all, max_concurrency: 2}}
    - {from: b, to: [c, d]}
    - {from: [c, d], to: k}
    - {from: [work, k], to: j}
    - {from: j, loop: {to: s, until: "iterations('j') >= 2", max_iterations: 3, exit_to: z}}
    - {from: z, to: END}
    """,
)
"""A fork in a fork beside a map, in a loop."""
STEPS: Final = {CHAIN: 3, FORK: 4, LOOP: 7, MAP: 6, ROUTES: 2, NESTED: 21}


async def finished(stored: Stored, run_id: UUID) -> list[str]:
    """The steps that have ended, in order; each once."""
    entries = await stored.entries(run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    ended = [entry.data for entry in entries if entry.type == "step.finished"]
    names = [f"{e['node']}#{e['visit']}[{e.get('item')}]" for e in ended]
    assert max(Counter(names).values(), default=1) == 1
    return names
