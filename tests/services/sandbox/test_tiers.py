"""What documents are checked against is what the interpreters have."""

from __future__ import annotations

import pytest

from flowyard.language.code import MODULES
from flowyard.language.nodes import CodeTier
from flowyard_sandbox.jobs import CodeAnswer
from support.sandboxes import Workers, job

_ONLY_FULL = {
    "yield": "def f():\n    yield 1",
    "del": "x = 1\ndel x",
    "except*": "try:\n    pass\nexcept* ValueError:\n    pass",
    "type": "type X = int",
    "inheritance": "class A(list):\n    pass",
    "metaclass": "class A(metaclass=type):\n    pass",
    "class in class": "class A:\n    class B:\n        pass",
    "decorated method": "class A:\n    @staticmethod\n    def x():\n        pass",
    "import *": "from math import *",
    "async for": "async def f():\n    async for x in y:\n        pass",
    "async with": "async def f():\n    async with y:\n        pass",
    "async comprehension": "async def f():\n    return [x async for x in y]",
}


def _tier(workers: Workers) -> CodeTier:
    return "full" if workers.kind.tier == "full" else "fast"


@pytest.mark.timeout(120)
def test_each_module_that_a_document_may_import_is_there(workers: Workers) -> None:
    imports = "\n".join(f"import {module}" for module in sorted(MODULES[_tier(workers)] - {"__future__"}))
    answer = workers.run(job(f"{imports}\nresult = 1", timeout=60.0))
    assert (answer.ending, answer.error) == ("done", "")


@pytest.mark.parametrize("code", _ONLY_FULL.values(), ids=_ONLY_FULL.keys())
def test_only_the_full_tier_has(workers: Workers, code: str) -> None:
    """When an upgrade of Monty makes this fail, remove the line in `language/code.py`."""
    answer: CodeAnswer = workers.run(job(f"{code}\nresult = 1"))
    assert (answer.ending == "done") is (_tier(workers) == "full"), answer.error
