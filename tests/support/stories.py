"""Workflows that several tests run. `MODEL` becomes the settings of the test's model."""

from __future__ import annotations

from typing import Final

POEM: Final = """\
flow: {name: poem, description: About anything}
state:
  fields:
    topic: {type: str, required: true}
    lines: {type: int, default: 3}
    draft: str
    poem: str
nodes:
  - {id: draft, prompt: 'Draft {topic}.', outputs: [draft]}
  - {id: write, prompt: 'Write {draft}.', outputs: [poem]}
config:
  llm: MODEL
"""
CHAIN: Final = """\
flow: {name: chain}
state:
  fields:
    topic: {type: str, required: true}
    one: str
    two: str
    three: str
nodes:
  - {id: first, prompt: 'First {topic}.', outputs: [one]}
  - {id: second, prompt: 'Second {topic}.', outputs: [two]}
  - {id: third, prompt: 'Third {topic}.', outputs: [three]}
config:
  llm: MODEL
"""
LINKED_CHAIN: Final = CHAIN.replace("Second {topic}", "Second {one}").replace("Third {topic}", "Third {two}")
"""Each step reads what the one before it wrote."""
