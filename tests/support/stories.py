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
LOGIN: Final = """\
flow: {name: login}
state:
  fields:
    user: {type: str, required: true}
    token: {type: str, required: true, secret: true}
    said: str
nodes:
  - {id: ask, prompt: 'Log {user} in with {token}', outputs: [said]}
config:
  llm: MODEL
"""
MANY: Final = """\
flow: {name: many}
state:
  fields:
    topics: {type: "list[str]", required: true}
    poems: list
    poem: str
nodes:
  - {id: write, prompt: "do {item}", outputs: [poem]}
edges:
  - {from: START, parallel: {items_field: topics, target_node: write, collect_field: poems, OPTION}}
  - {from: write, to: END}
config:
  llm: MODEL
"""
"""A call for each topic. `OPTION`: one of the map's, with its value."""
