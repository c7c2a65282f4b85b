"""`flowyard chat --new`: workflows are written by talking, and nothing is applied before it is said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from flowyard.runs.claim import Claim
from support.draft_testing import serving_draft_tests
from support.remote import Remote, open_remote
from support.terminal import CTRL_D, Terminal, at_a_terminal

FIRST = """\
A haiku in one step:

```yaml
flow: {name: haiku}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: 'A haiku about {topic}', outputs: [poem]}
tests:
  - {name: it rains, inputs: {topic: rain}, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}
```
"""
SECOND = FIRST.replace("A haiku about", "A sad haiku about").replace("one step", "one step, sad")
BROKEN = FIRST.replace("{topic}'", "{topc}'")


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with serving_draft_tests(nats_url), open_remote(database_url, nats_url, tmp_path) as remote:
        yield remote


def writing(remote: Remote, *args: str) -> AbstractAsyncContextManager[Terminal]:
    return at_a_terminal("chat", "--new", *args, folder=remote.folder, environment=remote.environment)


async def reply(remote: Remote, text: str) -> Claim:
    claim = await remote.hands.take()
    assert claim.workflow == "assistant"
    await remote.hands.step(claim, "write", {"reply": text})
    await remote.hands.succeed(claim, {"reply": text})
    return claim


def said_in(claim: Claim) -> list[Any]:
    return [message["content"] for message in json.loads(claim.inputs)["messages"]]


async def known(remote: Remote) -> list[str]:
    return [each["name"] for each in json.loads((await remote.cli("workflows", "--json")).out)["items"]]


async def test_a_workflow_is_written_refined_compared_and_applied(remote: Remote) -> None:
    async with writing(remote, "--model", "ollama/llama3.2") as terminal:
        await terminal.shows("the workflow 'assistant' isn't on the stack yet: it is applied, to ask ollama/llama3.2")
        terminal.type("A haiku\r")
        await reply(remote, FIRST)
        await terminal.shows("A haiku in one step:")
        await terminal.shows("version 1: haiku, valid, 1 of 1 test passed")
        await terminal.shows("START --> write")
        await terminal.shows("a run costs at most $0")
        await terminal.shows("ok   it rains")
        await terminal.shows("/apply")
        terminal.type("Make it sad\r")
        await reply(remote, SECOND)
        await terminal.shows("version 2: haiku")
        await terminal.shows("changes since version 1:")
        await terminal.shows("+  - {id: write, prompt: 'A sad haiku about {topic}', outputs: [poem]}")
        terminal.type("/versions\r")
        await terminal.shows("  version 1: haiku, valid")
        await terminal.shows("* version 2: haiku, valid")
        terminal.type("/save sad.yaml\r")
        await terminal.shows("wrote version 2 to sad.yaml")
        assert await known(remote) == ["assistant"]
        terminal.type("/apply\r")
        await terminal.shows("haiku: revision 1, created")
        await terminal.shows("flowyard run haiku -i topic=VALUE")
        terminal.type("/apply 1\r")
        await terminal.shows("haiku: revision 2, created")
        await terminal.shows("> ")
        terminal.type(CTRL_D)
        await terminal.shows("flowyard chat --new --session ")
        assert await terminal.ended() == 0
    assert "A sad haiku about" in (remote.folder / "sad.yaml").read_text()
    assert sorted(await known(remote)) == ["assistant", "haiku"]


async def test_the_conversation_goes_on_from_an_earlier_version_and_later(remote: Remote) -> None:
    async with writing(remote, "--model", "ollama/llama3.2", "--session", "s1") as terminal:
        for text, answer in (("A haiku", FIRST), ("Make it sad", SECOND)):
            terminal.type(f"{text}\r")
            await reply(remote, answer)
        await terminal.shows("version 2")
        terminal.type("/back 1\r")
        await terminal.shows("the next message goes on from version 1")
        terminal.type("Make it short\r")
        back = await reply(remote, FIRST.replace("A haiku about", "A short haiku about"))
        await terminal.shows("version 3: haiku")
        await terminal.shows("changes since version 1:")
        terminal.type("And shorter\r")
        after = await reply(remote, "Which words should go?")
        await terminal.shows("Which words should go?")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0
    assert said_in(back) == ["A haiku", FIRST, "Make it short"]
    assert said_in(after)[:3] == said_in(back)
    async with writing(remote, "--session", "s1") as terminal:
        await terminal.shows("4 turns so far, 3 versions")
        terminal.type("/diff 2\r")
        await terminal.shows("+  - {id: write, prompt: 'A short haiku")
        terminal.type("/show 1\r")
        await terminal.shows("prompt: 'A haiku about {topic}'")
        terminal.type("/diff 7\r")
        await terminal.shows("no version 7: /versions lists them")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0


async def test_what_is_not_valid_is_not_applied_and_what_replaces_others_is_asked_for(remote: Remote) -> None:
    (remote.folder / "haiku.yaml").write_text(FIRST.split("```yaml\n")[1].split("```", maxsplit=1)[0])
    assert (await remote.cli("apply", "haiku.yaml")).code == 0
    async with writing(remote, "--model", "ollama/llama3.2") as terminal:
        terminal.type("/apply\r")
        await terminal.shows("there is no version yet")
        terminal.type("A haiku\r")
        await reply(remote, BROKEN)
        await terminal.shows("version 1: not valid, 1 error")
        await terminal.shows("version-1:4:")
        terminal.type("/apply\r")
        await terminal.shows("version 1 isn't valid: nothing was applied")
        terminal.type("Correct it\r")
        await reply(remote, SECOND)
        await terminal.shows("version 2: haiku, valid")
        terminal.type("/apply\r")
        await terminal.shows("the stack has a workflow 'haiku', revision 1, which this would follow: apply it? y/N ")
        terminal.type("\r")
        await terminal.shows("nothing was applied")
        terminal.type("/save haiku.yaml\r")
        await terminal.shows("haiku.yaml exists: overwrite it? y/N ")
        terminal.type("y\r")
        await terminal.shows("wrote version 2")
        terminal.type("/apply\r")
        await terminal.shows("y/N ")
        terminal.type("y\r")
        await terminal.shows("haiku: revision 2, created")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0


async def test_without_a_model_the_assistant_is_not_applied(remote: Remote) -> None:
    ended = await remote.cli("chat", "--new", "-m", "A haiku")
    assert (ended.code, "name its model with --model PROVIDER/MODEL" in ended.err) == (2, True)
    assert await known(remote) == []
    named = await remote.cli("chat", "support", "--new", "-m", "A haiku")
    assert (named.code, "--new talks with the workflow assistant" in named.err) == (2, True)
