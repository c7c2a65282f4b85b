"""What the executor's settings mean for the calls that it makes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowyard.runs.run import Run
from support.executors import Yard
from support.in_process import executing

ONE = """\
flow: {name: one}
state: {fields: {out: str}}
nodes:
  - {id: write, prompt: Write., outputs: [out], retry: 0}
config: {llm: MODEL}
"""


async def ended(yard: Yard, document: str = ONE, **settings: Any) -> Run:
    name = await yard.apply(document)
    async with executing(yard, poll_s=0.1, **settings):
        return await yard.ended(await yard.submit(name))


def error_of(run: Run) -> tuple[str, str]:
    assert run.error is not None
    return run.error.code, run.error.message


async def test_a_reply_has_the_limit_of_the_setting(yard: Yard) -> None:
    code, message = error_of(await ended(yard, reply_limit=50))
    assert code == "provider_error"
    assert "the reply is larger than 50 bytes: FLOWYARD_REPLY_LIMIT is the limit" in message


@pytest.mark.parametrize(
    ("prices", "cost"),
    [('{"hosted_vllm/*": {"input": 1000, "output": 10000}}', Decimal("0.011")), (None, None)],
    ids=["known", "unknown"],
)
async def test_a_call_costs_what_the_table_of_the_installation_says(
    yard: Yard, prices: str | None, cost: Decimal | None
) -> None:
    run = await ended(yard, **({"prices": prices} if prices else {}))
    assert run.spending.cost_usd == cost


async def test_a_document_may_name_the_variables_of_the_setting_only(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_API_KEY", "sk-team-0123456789")
    document = ONE.replace("write, prompt", "write, llm: {api_key_env: TEAM_API_KEY}, prompt")
    assert (await ended(yard, document)).status == "succeeded"
    code, message = error_of(await ended(yard, document, document_variables="OTHER_*"))
    assert code == "variable_not_allowed"
    assert "FLOWYARD_DOCUMENT_VARIABLES=OTHER_*,TEAM_API_KEY" in message


async def test_a_header_may_refer_to_a_file_in_the_folder_of_the_setting(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "signature").write_text("signed-0123456789\n")
    header = "{extra: {extra_headers: {X-Signature: '${file:signature}'}}}"
    document = ONE.replace("write, prompt", f"write, llm: {header}, prompt")
    assert (await ended(yard, document, referenced_files=str(tmp_path))).status == "succeeded"
    assert yard.model.requests[-1].headers["x-signature"] == "signed-0123456789"
    assert error_of(await ended(yard, document))[0] == "model_refused"
