"""Random documents made of blocks within blocks, of which it is known, without running them, what happens.

Each node appends its name to the field `trail`. Branches merge in the order of the document, so the trail of a run is
the same however long its steps take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, assert_never

from hypothesis import strategies as st

Kind: TypeAlias = Literal["prompt", "set", "assert", "failing"]


@dataclass(frozen=True)
class Task:
    """`failing`: its call fails, and the run goes on."""

    kind: Kind = "prompt"


@dataclass(frozen=True)
class Row:
    blocks: list[Block]


@dataclass(frozen=True)
class Fork:
    branches: list[Block]


@dataclass(frozen=True)
class Choice:
    branches: list[Block]
    chosen: int


@dataclass(frozen=True)
class Rescue:
    """A node whose call fails, and leads to `body` instead of `other`."""

    other: Block
    body: Block


@dataclass(frozen=True)
class Repeat:
    """The condition holds after `wanted` turns, the bound after `most`."""

    body: Block
    wanted: int
    most: int


@dataclass(frozen=True)
class Each:
    items: int


Block: TypeAlias = Task | Row | Fork | Choice | Rescue | Repeat | Each


def _larger(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        st.builds(Row, several),
        st.builds(Fork, several),
        st.builds(Choice, several, st.integers(0, 1)),
        st.builds(Rescue, inner, inner),
        st.builds(Repeat, inner, st.integers(1, 4), st.integers(1, 3)),
    )


_SMALLEST: st.SearchStrategy[Block] = st.one_of(
    st.builds(Task, st.sampled_from(["prompt", "set", "assert", "failing"])), st.builds(Each, st.integers(0, 3))
)
blocks = st.recursive(_SMALLEST, _larger, max_leaves=8)


class Writer:
    """Writes a block as a document. `replies`: of its models, `expected`: how often each node runs."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.expected: Counter[str] = Counter()
        self._fields: dict[str, object] = {"trail": {"type": "list[str]", "reduce": "append", "default": []}}
        self._nodes: list[dict[str, Any]] = []
        self._edges: list[object] = []

    def document(self, block: Block) -> dict[str, Any]:
        entry = self.write(block, "END", 1)
        edges = [{"from": "START", "to": entry}, *self._edges]
        return {"flow": {"name": "any"}, "state": {"fields": self._fields}, "nodes": self._nodes, "edges": edges}

    def node(self, kind: str, times: int, **about: Any) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append({"id": name, "prompt": name, "outputs": ["trail"], "retry": 0, **about})
        self.replies[name] = name
        self.expected[name] = times
        return name

    def write(self, block: Block, then: str, times: int) -> str:
        """The node where the block begins; it goes on to `then`, and is entered `times` times."""
        match block:
            case Task():
                name = self.task(block.kind, times)
                self._edges.append({"from": name, "to": then})
                return name
            case Row(inner):
                for each in reversed(inner):
                    then = self.write(each, then, times)
                return then
            case Fork(branches):
                name, join = self.node("fork", times), self.node("join", times)
                self._edges.append({"from": join, "to": then})
                self._edges.append({"from": name, "to": [self.write(b, join, times) for b in branches]})
                return name
            case Choice(branches, chosen):
                return self.choice(branches, chosen, then, times)
            case Rescue(other, body):
                return self.rescue(other, body, then, times)
            case Repeat(body, wanted, most):
                turns = min(wanted, most)
                name = self.node("loop", times * turns)
                until = f"iterations('{name}') >= {wanted}"
                to = self.write(body, name, times * turns)
                loop = {"to": to, "until": until, "max_iterations": most, "exit_to": then}
                self._edges.append({"from": name, "loop": loop})
                return to
            case Each(items):
                return self.each(items, then, times)
            case _:
                assert_never(block)

    def task(self, kind: Kind, times: int) -> str:
        match kind:
            case "prompt":
                return self.node("task", times)
            case "failing":
                name = self.node("failing", times, on_error="continue")
                self.replies[name] = {"error": "provider_error"}
                return name
            case "set":
                name = self.node("set", times)
                self._nodes[-1] = {"id": name, "set": {"trail": name}}
                return name
            case "assert":
                name = self.node("assert", times)
                self._nodes[-1] = {"id": name, "assert": "len(trail) >= 0"}
                return name
            case _:
                assert_never(kind)

    def choice(self, branches: list[Block], chosen: int, then: str, times: int) -> str:
        name, merge = self.node("route", times), self.node("merge", times)
        self._nodes[-2]["outputs"] = [name]
        self._fields[name] = "str"
        self.replies[name] = str(chosen)
        self._edges.append({"from": merge, "to": then})
        to = [self.write(b, merge, times if i == chosen else 0) for i, b in enumerate(branches)]
        routes: list[object] = [{"if": f"{name} == '{i}'", "to": entry} for i, entry in enumerate(to[:-1])]
        self._edges.append({"from": name, "routes": [*routes, {"default": to[-1]}]})
        return name

    def rescue(self, other: Block, body: Block, then: str, times: int) -> str:
        merge = self.node("merge", times)
        self._edges.append({"from": merge, "to": then})
        to = self.write(body, merge, times)
        name = self.node("lost", times, on_error={"goto": to})
        self.replies[name] = {"error": "provider_error"}
        self._edges.append({"from": name, "to": self.write(other, merge, 0)})
        return name

    def each(self, items: int, then: str, times: int) -> str:
        name, work = self.node("plan", times), self.node("work", times * items)
        self._nodes[-1] = {"id": work, "prompt": work, "outputs": [work]}
        self._fields |= {work: "str"}
        self._fields |= {f"{name}_in": {"type": "list", "default": list(range(items))}, f"{name}_out": "list"}
        way = {"items_field": f"{name}_in", "target_node": work, "collect_field": f"{name}_out", "max_concurrency": 2}
        self._edges += [{"from": name, "parallel": way}, {"from": work, "to": then}]
        return name


class Trail:
    """What a run of a block appends to `trail`: counts nodes as `Writer` does, and follows the document's order."""

    def __init__(self) -> None:
        self._number = 0

    def _name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}{self._number - 1}"

    def of(self, block: Block) -> list[str]:
        return self._walk(block)()

    def _walk(self, block: Block) -> Callable[[], list[str]]:
        """Names the block's nodes in the order in which `Writer` makes them."""
        match block:
            case Task(kind):
                name = self._name({"prompt": "task"}.get(kind, kind))
                return lambda: [name] if kind in ("prompt", "set") else []
            case Row(inner):
                walks = [self._walk(each) for each in reversed(inner)]
                return lambda: [name for walk in reversed(walks) for name in walk()]
            case Fork(branches):
                fork, join = self._name("fork"), self._name("join")
                walks = [self._walk(each) for each in branches]
                return lambda: [fork, *(name for walk in walks for name in walk()), join]
            case Choice(branches, chosen):
                self._name("route")
                merge = self._name("merge")
                walks = [self._walk(each) for each in branches]
                return lambda: [*walks[chosen](), merge]
            case Rescue(other, body):
                merge = self._name("merge")
                inner_walk = self._walk(body)
                self._name("lost")
                self._walk(other)
                return lambda: [*inner_walk(), merge]
            case Repeat(body, wanted, most):
                loop = self._name("loop")
                inner_walk = self._walk(body)
                return lambda: [*inner_walk(), loop] * min(wanted, most)
            case Each():
                plan = self._name("plan")
                self._name("work")
                return lambda: [plan]
            case _:
                assert_never(block)
