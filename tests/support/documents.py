"""The documents that we publish: examples, and the blocks of the Markdown files. Finds them and runs their tests."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from flowyard.drafts.check import document_checks
from flowyard.graph.cases import CaseLimits, case_result
from flowyard.graph.compile import compile_workflow
from flowyard.language.installation import ANY
from flowyard.language.load import Loaded, load_bytes
from flowyard.language.workflow import Case, Workflow
from flowyard_cli.code import open_code

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)```[ \t]*$", re.M | re.S)
_FIELDS: Final = """\
    topic: {type: str, required: true}
    text: {type: str, default: ''}
    texts: {type: 'list[str]', default: []}
    category: {type: str, default: ''}
    score: {type: float, default: 0}
    done: {type: bool, default: false}
    profile: {type: object, default: {}}
"""
_TARGETS: Final = ("from", "to", "default", "else", "exit_to", "target_node")


def load_file(path: Path) -> Loaded:
    return load_bytes(path.read_bytes(), str(path))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line`: where its text begins; `following`: the text of the next block, if that says `text`."""

    file: Path
    line: int
    info: str
    text: str
    following: str | None

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def kind(self) -> str:
        """`document`, `bad`, or what the fragment is of."""
        return self.info.partition(" ")[2].strip().removeprefix("fragment=") or "document"


def yaml_blocks(file: Path) -> Iterator[Block]:
    return (block for block in _blocks(file) if block.info.split(" ")[0] in ("yaml", "yml"))


def programs(file: Path) -> list[str]:
    """The blocks that say `python`."""
    return [block.text for block in _blocks(file) if block.info == "python"]


def commands(file: Path) -> list[Block]:
    """What the page says can be typed, in this order."""
    return [block for block in _blocks(file) if block.info == "sh run"]


def table(file: Path, *header: str) -> list[list[str]]:
    """The cells of the table with this header, without the backquotes of code."""
    head = f"| {' | '.join(header)} |\n"
    _, heading, after = file.read_text(encoding="utf-8").partition(head)
    assert heading, f"{file.name} has no table {header}"
    rows = itertools.takewhile(lambda line: line.startswith("|"), after.splitlines()[1:])
    return [[cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def _blocks(file: Path) -> Iterator[Block]:
    source = file.read_text(encoding="utf-8")
    fences = list(_FENCE.finditer(source))
    for i, block in enumerate(fences):
        after = fences[i + 1] if i + 1 < len(fences) else None
        following = after["text"] if after is not None and after["info"].strip() == "text" else None
        line = source.count("\n", 0, block.start("text")) + 1
        yield Block(file, line, block["info"].strip(), textwrap.dedent(block["text"]), following)


def whole(kind: str, text: str) -> str:
    """The smallest document around a fragment. It offers the fields and nodes that our documentation speaks of."""
    fragment = textwrap.indent(text, "  ")
    match kind:
        case "fields":
            fields = textwrap.indent(text, "    ")
            node = "nodes:\n  - {id: work, prompt: Work., outputs: [output_of_work]}\n"
            return f"flow: {{name: doc}}\nstate:\n  fields:\n    output_of_work: str\n{fields}{node}"
        case "nodes":
            return f"flow: {{name: doc}}\nstate:\n  fields:\n{_FIELDS}nodes:\n{fragment}"
        case "edges":
            return f"{_around([*_named(yaml.safe_load(text))])}edges:\n{fragment}"
        case "triggers":
            fields = "messages: {type: 'list[message]', required: true}, topic: {type: str, default: tea}, reply: str"
            node = "nodes:\n  - {id: work, prompt: 'On {topic}.', history: messages, outputs: [reply]}\n"
            return f"flow: {{name: doc}}\nstate: {{fields: {{{fields}}}}}\n{node}triggers:\n{fragment}"
        case "config":
            return f"{_around(['work'])}config:\n{fragment}"
        case _:
            raise ValueError(f"no fragment can be of '{kind}'")


def _around(nodes: list[str]) -> str:
    fields = "".join(f"    output_of_{node}: str\n" for node in nodes)
    works = "".join(f"  - {{id: {node}, prompt: Work., outputs: [output_of_{node}]}}\n" for node in nodes)
    return f"flow: {{name: doc}}\nstate:\n  fields:\n{_FIELDS}{fields}nodes:\n{works}"


def _named(part: Any) -> dict[str, None]:
    """The nodes that edges name, each once, in order."""
    names: dict[str, None] = {}
    for key, value in part.items() if isinstance(part, dict) else enumerate(part if isinstance(part, list) else ()):
        targets = value if isinstance(value, list) else [value]
        if key in _TARGETS:
            names |= {name: None for name in targets if isinstance(name, str) and name not in ("START", "END")}
        names |= _named(value)
    return names


async def faults_of(case: Case, workflow: Workflow) -> list[str]:
    """What `flowyard test` says of a case."""
    async with open_code(workflow) as run_code:
        limits = CaseLimits(run_code=run_code)
        result = await case_result(compile_workflow(workflow), case, limits, document_checks(lambda: ANY))
    return list(result.faults)
