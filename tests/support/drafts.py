"""Workflows as a model writes them for the assistant."""

from __future__ import annotations

from typing import Final

HAIKU: Final = """\
flow: {name: haiku}
state:
  fields:
    topic: {type: str, required: true}
    poem: str
nodes:
  - {id: write, prompt: 'A haiku about {topic}', outputs: [poem]}
config:
  llm: {provider: scripted}
tests:
  - name: writes about rain
    inputs: {topic: rain}
    replies: {write: Drops}
    expect: {outputs: {poem: Drops}}
"""
HUGE: Final = """\
flow: {name: huge}
state:
  fields: {n: {type: int, default: 0}, m: {type: int, default: 0}, done: {type: bool, default: false}}
nodes:
  - {id: inner, set: {n: {expr: n + 1}}}
  - {id: outer, set: {m: {expr: m + 1}}}
edges:
  - {from: START, to: inner}
  - {from: inner, loop: {until: done, max_iterations: 1000, exit_to: outer}}
  - {from: outer, loop: {to: inner, until: done, max_iterations: 1000}}
tests:
  - {name: a million steps, expect: {outputs: {m: 1000}}}
"""
