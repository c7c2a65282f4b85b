"""Checks what a model has written as a workflow, and executes nothing but its tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from flowyard.drafts.check import MOST_BYTES, Checked, checked_document, document_checks
from flowyard.language.installation import ANY, Installation, Variables
from support import drafts
from support.outside import OK, outside

HEAD = """\
flow: {name: haiku}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "A haiku about {topic}", outputs: [poem]}
"""
TESTS = """\
tests:
  - {name: writes, inputs: {topic: rain}, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}
"""


def reply(document: str) -> str:
    return f"Here it is.\n\n```yaml\n{document}```\n"


async def faults(document: str, installation: Installation = ANY) -> Sequence[str]:
    return await document_checks(lambda: installation)(reply(document))


async def test_a_valid_document_whose_tests_pass_has_no_faults() -> None:
    assert await faults(HEAD + TESTS) == []


async def test_a_text_without_a_document_has_no_faults() -> None:
    assert await document_checks(lambda: ANY)("Do you want one haiku, or several?") == []


async def test_a_problem_has_its_position_what_would_be_right_and_its_line() -> None:
    wrong = HEAD.replace("{topic}", "{topc}") + TESTS
    (fault,) = await faults(wrong)
    problem, _, line = fault.partition(", in the line: ")
    assert problem == "document:4:41: no field 'topc' (did you mean 'topic'?) [unknown-field]"
    assert line == '- {id: write, prompt: "A haiku about {topc}", outputs: [poem]}'


async def test_a_document_needs_a_test() -> None:
    (fault,) = await faults(HEAD)
    assert "no tests" in fault


async def test_a_test_that_fails_is_a_fault() -> None:
    assert await faults(HEAD + TESTS.replace("poem: Drops", "poem: Snow")) == [
        'the test \'writes\' fails: outputs.poem: expected "Snow", got "Drops"'
    ]


async def test_the_installation_has_its_say() -> None:
    naming = HEAD + "config: {llm: {provider: openai, model: gpt-5, api_key_env: PGPASSWORD}}\n" + TESTS
    (fault,) = await faults(naming, Installation(variables=Variables(("*_API_KEY",))))
    assert "PGPASSWORD" in fault
    assert "[variable-not-allowed]" in fault


async def test_only_one_whole_document_is_taken() -> None:
    check = document_checks(lambda: ANY)
    assert await check(reply(HEAD + TESTS) * 2) == ["there are 2 yaml blocks: write one, with the whole document"]
    assert await check(reply(HEAD + TESTS).rstrip().rstrip("`")) == [
        "the yaml block has no end: close it with a line ```"
    ]
    large = HEAD + TESTS + "# " + "x" * MOST_BYTES + "\n"
    assert await check(reply(large)) == ["the document has more than 64 KiB: make it smaller"]


async def test_faults_are_bounded_in_number_and_length() -> None:
    nodes = "".join(f"  - {{id: n{i}, prompt: '{{x{i}}}', outputs: [poem]}}\n" for i in range(40))
    many = await faults(HEAD + nodes)
    assert len(many) == 11
    assert many[-1].startswith("and ")
    case = TESTS.partition("\n")[2].replace("{write: Drops", f"{{write: {'x' * 500}")
    tests = "".join(case.replace("writes", f"t{i} {'y' * 400}") for i in range(30))
    long = await faults(f"{HEAD}tests:\n{tests}")
    assert len(long) == 11
    assert max(map(len, long)) <= 400


HUGE_LOOPS = drafts.HUGE + "  - {name: another million, expect: {outputs: {m: 1000}}}\n"


def test_tests_have_little_time_together() -> None:
    faults = checked_document(HUGE_LOOPS, ANY, test_s=0.3).faults
    assert faults == ["the test 'a million steps' fails: the tests take longer than 0.3 s"]


async def test_what_tests_write_is_bounded() -> None:
    doubling = HUGE_LOOPS.replace("n: {type: int, default: 0}", "n: {type: str, default: x}").replace("n + 1", "n + n")
    (fault, _) = await faults(doubling)
    assert "state_too_large" in fault or "outputs_too_large" in fault


class Checks:
    """Documents that are checked when the test lets them. `at_work`: how many are."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.at_work = 0
        self.most_at_work = 0

    def __call__(self, text: str, installation: Installation) -> Checked:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.begun.set()
        assert self.may_end.wait(10)
        self.at_work -= 1
        return checked_document(text, installation)


async def test_one_document_is_checked_at_a_time_outside_of_the_event_loop() -> None:
    checks = Checks()
    check = document_checks(lambda: ANY, checks)
    both = asyncio.gather(check(reply(HEAD + TESTS)), check(reply(HEAD)))
    assert await asyncio.to_thread(checks.begun.wait, 10)
    checks.may_end.set()
    assert [len(faults) for faults in await both] == [0, 1]
    assert checks.most_at_work == 1


async def test_the_next_one_waits_for_a_check_whose_step_was_cancelled() -> None:
    checks = Checks()
    check = document_checks(lambda: ANY, checks)
    first = asyncio.create_task(check(reply(HEAD + TESTS)))
    assert await asyncio.to_thread(checks.begun.wait, 10)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(check(reply(HEAD + TESTS)))
    # Long enough for it to begin, if nothing kept it.
    await asyncio.wait([second], timeout=0.05)
    assert checks.at_work == 1
    checks.may_end.set()
    assert await second == []


HOSTILE = """\
flow: {name: hostile}
state:
  fields: {topic: {type: str, default: rain}, poem: str}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
config:
  llm:
    provider: openai
    model: gpt-5
    api_base: http://127.0.0.1:PORT/v1
    api_key_env: CANARY_API_KEY
    extra: {extra_headers: {X-Env: "${env:CANARY_API_KEY}", X-File: "${file:canary}"}}
triggers:
  every: {schedule: {every: 1s}}
  hook: {webhook: {path: hostile, auth: none}, inputs: {topic: "{payload.topic}"}}
on_finish:
  - {url: "http://127.0.0.1:PORT/ended", auth: none}
tests:
  - {name: calls nobody, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}
"""


async def test_a_document_has_no_effect_while_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    monkeypatch.setenv("CANARY_API_KEY", "sk-canary")
    monkeypatch.setenv("FLOWYARD_REFERENCED_FILES", str(tmp_path))
    before = canary.stat().st_atime_ns
    async with outside(OK) as server:
        assert await faults(HOSTILE.replace("PORT", str(server.port))) == []
    assert server.connections == 0
    assert canary.stat().st_atime_ns == before


NESTED = """\
flow: {name: nested}
state: {fields: {wish: {type: str, default: tea}, draft: {type: str, format: workflow}}}
nodes:
  - {id: write, prompt: "{wish}", outputs: [draft], retry: 0}
tests:
  - name: writes one
    replies:
      write: |
INNER
    expect: {status: STATUS}
"""


@pytest.mark.parametrize(
    ("inner", "status"), [(HEAD + TESTS, "succeeded"), (HEAD, "failed"), (HUGE_LOOPS, "succeeded")]
)
async def test_documents_in_tests_are_checked_but_not_run(inner: str, status: str) -> None:
    """Else a document in a test of a document in a test … would multiply the time."""
    indented = "".join(f"        {line}\n" for line in reply(inner).splitlines())
    assert await faults(NESTED.replace("INNER\n", indented).replace("STATUS", status)) == []
