"""What the documentation shows works as it is shown, and what it lists is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowyard.language.load import load_text
from flowyard.language.reading.cases import CaseShape, ExpectShape
from flowyard.language.reading.document import (
    BudgetShape,
    DocumentShape,
    EdgeShape,
    ExecutionShape,
    FieldShape,
    FlowShape,
    LlmShape,
    LoopShape,
    NodeShape,
    ParallelShape,
    PriceShape,
    RetryShape,
)
from flowyard.language.reading.keys import Shape
from flowyard.language.reading.on_finish import ReceiverShape
from flowyard.language.reading.sandbox import SandboxShape
from flowyard.language.reading.shape import keys_of
from flowyard.language.reading.tools import ApiShape
from flowyard.language.reading.triggers import ChatShape, HookLimitsShape, ScheduleShape, TriggerShape, WebhookShape
from flowyard.language.values.functions import FUNCTIONS
from flowyard.llm.keys import KEY_VARIABLES
from support.documents import ROOT, Block, faults_of, whole, yaml_blocks

FILES = [file for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if file.exists()]
BLOCKS = [block for file in FILES for block in yaml_blocks(file)]
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
ROOM = ROOT / "libs" / "flowyard" / "src" / "flowyard" / "language"
SHAPES = (
    DocumentShape, FlowShape, FieldShape, NodeShape, RetryShape, EdgeShape, LoopShape, ParallelShape, LlmShape,
    ExecutionShape, BudgetShape, CaseShape, ExpectShape, PriceShape, TriggerShape, WebhookShape, HookLimitsShape,
    ReceiverShape,
    ScheduleShape, ChatShape, SandboxShape, ApiShape,
)  # fmt: skip
NO_CODES = {"date-time", "deepseek-reasoner", "smollm2-135m", "utf-8", "utf-8-sig"}


def blocks(*kinds: str, but: bool = False) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if (block.kind in kinds) is not but]
    return pytest.mark.parametrize("block", chosen, ids=str)


@blocks("document")
async def test_a_whole_document_has_no_problems_and_passes_its_tests(block: Block) -> None:
    loaded = load_text(block.text, "flow.yaml")
    assert [problem.render(str(block)) for problem in loaded.problems] == []
    assert loaded.workflow is not None
    faults = [(c.name, fault) for c in loaded.workflow.cases for fault in await faults_of(c, loaded.workflow)]
    assert faults == []


@blocks("document", "bad", but=True)
def test_a_fragment_is_valid_where_it_belongs(block: Block) -> None:
    loaded = load_text(whole(block.kind, block.text), "flow.yaml")
    assert [problem.render(str(block)) for problem in loaded.errors] == []


@blocks("bad")
def test_a_bad_document_has_the_problems_that_are_shown(block: Block) -> None:
    assert block.following is not None, "a block ```text with the problems comes next"
    problems = [problem.render("flow.yaml") for problem in load_text(block.text, "flow.yaml").problems]
    assert problems == block.following.splitlines()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_link_to_our_own_pages_leads_somewhere(file: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8"))
    own = [link.partition("#") for link in links if "://" not in link]
    missing = [path for path, _, _ in own if not (file.parent / path).exists()]
    missing += [
        f"{path}#{at}" for path, _, at in own if at and at not in _anchors(file.parent / path if path else file)
    ]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_file_on_the_map_is_there() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    library = ROOT / "libs" / "flowyard" / "src" / "flowyard"
    missing = []
    for service, path in re.findall(r"`(?:(\w+): )?([\w./-]+)`", text):
        roots = [ROOT / "services" / service / "src" / f"flowyard_{service}"] if service else [ROOT, library]
        if (service or "/" in path) and not any((root / path).exists() for root in roots):
            missing.append(f"{service}: {path}" if service else path)
    assert missing == []


def test_every_problem_code_is_explained() -> None:
    rooms = [file.read_text(encoding="utf-8") for file in ROOM.rglob("*.py") if file.stem != "providers"]
    named = {code for text in rooms for code in re.findall(r'"([a-z]+(?:-[a-z0-9]+)+)"', text)}
    explained = re.findall(r"^\| `([a-z]+(?:-[a-z0-9]+)+)` \| ", LANGUAGE, re.MULTILINE)
    assert sorted(explained) == sorted(named - NO_CODES)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_key_is_described(shape: type[Shape]) -> None:
    missing = [key for key in keys_of(shape) if f"| `{key}` |" not in LANGUAGE]
    assert missing == []


def test_every_function_of_expressions_is_described() -> None:
    assert [name for name in FUNCTIONS if f"| `{name}(" not in LANGUAGE] == []


def test_every_variable_that_holds_a_key_is_listed() -> None:
    missing = {p: names[0] for p, names in KEY_VARIABLES.items() if not re.search(rf"`{p}`.*`{names[0]}`", MODELS)}
    assert missing == {}
