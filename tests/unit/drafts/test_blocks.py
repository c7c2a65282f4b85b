"""Finds documents in the reply of a model."""

from __future__ import annotations

import pytest

from flowyard.drafts.blocks import Block, documents_in


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("Which topic do you mean?", []),
        ("Here:\n```yaml\na: 1\n```\nDone.", ["a: 1\n"]),
        ("```YML\na: 1\n```", ["a: 1\n"]),
        ("~~~ yaml\na: 1\n~~~", ["a: 1\n"]),
        ("```\nflow: {name: x}\n```", ["flow: {name: x}\n"]),
        ("```\nflowyard apply x.yaml\n```", []),
        ("```sh\nflow: x\n```", []),
        ("```yaml\na: 1\n```\n\n```yaml\nb: 2\n```", ["a: 1\n", "b: 2\n"]),
        # A block within the text of a prompt is no end.
        ("```yaml\np: |\n    ```\n    x\n    ```\n```", ["p: |\n    ```\n    x\n    ```\n"]),
        ("````yaml\n```\na\n```\n````", ["```\na\n```\n"]),
        ("   ```yaml\n   a:\n     b: 1\n   ```", ["a:\n  b: 1\n"]),
        ("```sh\n```yaml\na: 1\n```", []),
        ("`yaml` is no block, and ```yaml a: 1``` is none either", []),
        ("```yaml\r\na: 1\r\n```", ["a: 1\n"]),
        ("~~~ yaml `x`\na: 1\n~~~", ["a: 1\n"]),
        ("```yaml\na: 1\n~~~\n``` x\n```", ["a: 1\n~~~\n``` x\n"]),
        ("    ```yaml\n    a: 1\n    ```", []),
        # Ends of lines for Python, but not for Markdown.
        ('```yaml\na: "\u2028 \x85 \x0c"\n```', ['a: "\u2028 \x85 \x0c"\n']),
    ],
)
def test_a_document_is_a_fenced_block_of_yaml(text: str, documents: list[str]) -> None:
    assert [block.text for block in documents_in(text)] == documents


def test_a_block_without_an_end_is_known() -> None:
    assert documents_in("Here:\n```yaml\na: 1\nb: ") == [Block("a: 1\nb: \n", is_closed=False)]
    assert documents_in("```yaml") == [Block("", is_closed=False)]
    assert documents_in("Here:\n```yaml\na: 1\n```") == [Block("a: 1\n")]


@pytest.mark.parametrize("line", ["~" * 300_000 + "`", "```" + "a" * 300_000 + "`", "``` " + " " * 300_000 + "`"])
def test_no_line_multiplies_the_time(line: str) -> None:
    """With a regular expression, the second one took minutes, and the first one hours."""
    assert len(documents_in(f"{line}\n" * 3)) == 0
