from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest

from flowyard.openai_api.item_references import referred_runs, with_referred
from flowyard.openai_api.replies import ChatAnswer

RUN: Final = UUID("019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20")
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def reference(name: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": name}


def test_a_reference_is_replaced_by_the_item_of_that_id() -> None:
    items = [{"role": "user", "content": "Hi"}, reference(f"msg_{RUN}"), reference(f"fc_{RUN}_1")]
    assert referred_runs(items) == {RUN}
    answer = ChatAnswer("Hello", "tool_calls", [CALL, {**CALL, "id": "call_2"}])
    said, message, call = with_referred(items, {RUN: answer})
    assert said == items[0]
    assert message["content"][0]["text"] == "Hello"
    assert call["call_id"] == "call_2"


@pytest.mark.parametrize(
    "item",
    [
        *map(reference, (None, 1, [], "", "msg_", f"rs_{RUN}", str(RUN), f"msg_{RUN}x", f"msg_{RUN.hex}")),
        {"type": "item_reference"},
        {"type": "message", "id": f"msg_{RUN}"},
        "item_reference",
        None,
    ],
)
def test_what_is_no_reference_to_an_item_stays_as_it_is(item: Any) -> None:
    assert referred_runs([item]) == set()
    assert with_referred([item], {RUN: ChatAnswer("Hello")}) == [item]


@pytest.mark.parametrize("name", [f"fc_{RUN}_7", f"fc_{RUN}", f"msg_{RUN}_0"])
def test_a_reference_to_what_an_answer_does_not_have_stays_as_it_is(name: str) -> None:
    assert with_referred([reference(name)], {RUN: ChatAnswer("Hello")}) == [reference(name)]
