"""What is opened before a run, and that nobody has to wait for it: each in a process that knows nothing of LiteLLM."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from flowyard.errors.steps import MissingApiKey, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm.models import Models, open_models
from flowyard.llm.scripted import ScriptedModel
from support.wire.providers import Provider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PREPARED_CALLS = """
import asyncio, json, multiprocessing, os, sys, time
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.models import open_models
from support.wire.behaviour import Text
from support.wire.providers import DIRECT, ENVIRON, LITELLM, PRICED

listening = True

def report_connect(event, details):
    if event == "socket.connect" and listening:
        print("connected while preparing", details[1], file=sys.stderr)

async def main(provider):
    global listening
    async with provider.serve([Text("hi there")]) as server, open_models(ENVIRON, litellm=LITELLM) as models:
        settings = provider.settings(server, timeout=1)
        tasks = asyncio.all_tasks()
        await models.prepare([settings, settings])
        listening = False
        left = len(asyncio.all_tasks() - tasks)
        seconds = []
        for on_token in (None, lambda token: None):
            started = time.process_time()
            async with asyncio.timeout(1):
                reply = await models.reply(ModelCall("a", settings, (ChatMessage("user", "Hi"),)), on_token)
            seconds.append(time.process_time() - started)
    result = {"text": reply.text, "tasks": left, "seconds": seconds, "requests": len(server.requests)}
    print(json.dumps({provider.name: result}), flush=True)

def in_a_fork(provider):
    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(main(provider)))
    process.start()
    process.join()

sys.addaudithook(report_connect)
in_a_fork(DIRECT)
import flowyard.llm.litellm_setup as setup
as_ours = all(os.environ[name] == value for name, value in setup.ENVIRONMENT.items())
print(json.dumps({"environment": as_ours, "telemetry": setup.litellm.telemetry}), flush=True)
for provider in PRICED:
    in_a_fork(provider)
"""
INTERRUPTED = """
import asyncio
from flowyard.language.nodes import ModelSettings
from flowyard.llm.models import open_models

async def main():
    async with open_models({"ANTHROPIC_API_KEY": "k"}) as models:
        print("ready", flush=True)
        await models.prepare([ModelSettings("anthropic", "claude-haiku-4-5")])
        print("prepared", flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """By provider, what calls with a prepared model were like; and how LiteLLM was imported, which takes seconds."""
    surroundings = {"LITELLM_TELEMETRY": "True", "LITELLM_LOCAL_MODEL_COST_MAP": "False", "LITELLM_MODE": "DEV"}
    done = subprocess.run(
        [sys.executable, "-c", PREPARED_CALLS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **surroundings},
    )
    assert done.stderr == ""
    return {name: value for line in done.stdout.splitlines() for name, value in json.loads(line).items()}


@pytest.mark.long
def test_the_first_call_of_a_prepared_model_is_a_fast_one(provider: Provider, prepared: dict[str, Any]) -> None:
    result = prepared[provider.name]
    assert (result["text"], result["tasks"], result["requests"]) == ("hi there", 0, 2)
    # CPU time, with the server's: 0.03 s; without the preparation 0.4 s.
    assert max(result["seconds"]) < 0.3


@pytest.mark.long
def test_litellm_stays_at_home_whatever_the_environment_says(prepared: dict[str, Any]) -> None:
    assert (prepared["environment"], prepared["telemetry"]) == (True, False)


@pytest.mark.long
def test_an_interrupt_doesnt_wait_for_the_import() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate()
    assert printed == b""
    # The import takes 3 s of CPU time, and the rest 0.1 s.
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime < 1.5


async def test_preparing_raises_what_the_call_would_raise() -> None:
    async with open_models({}) as models:
        with pytest.raises(MissingApiKey):
            await models.prepare([ModelSettings("openai", "m")])
        with pytest.raises(ModelRefused, match="no such provider"):
            await models.prepare([ModelSettings("opnai", "m")])


async def test_a_fallback_is_prepared_unless_it_is_local() -> None:
    # A preparation of this local model would be refused: there is no such file.
    nowhere = ModelSettings("local", "nowhere.gguf")
    async with open_models({}, scripted=ScriptedModel({})) as models:
        await models.prepare([ModelSettings("scripted", "canned", fallbacks=(nowhere,))])
        with pytest.raises(MissingApiKey):
            await models.prepare([ModelSettings("scripted", "canned", fallbacks=(ModelSettings("openai", "m"),))])


async def test_a_warm_up_that_fails_does_no_harm(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    # Inline: it takes seconds, and the other tests of this file need none of it here.
    from flowyard.llm.litellm_setup import litellm  # noqa: PLC0415

    called: list[str] = []

    def fail(model: str, **_: object) -> None:
        called.append(model)
        raise RuntimeError("no luck")

    monkeypatch.setattr(litellm, "completion", fail)
    await models.prepare([ModelSettings("openai", "m")])
    assert called


async def test_two_runs_that_prepare_the_same_model_at_once_prepare_it_once(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowyard.llm.litellm_setup import litellm  # noqa: PLC0415

    prepared: list[str] = []
    monkeypatch.setattr(litellm, "completion", lambda model, **_: prepared.append(model))
    settings = ModelSettings("openai", "m")
    await asyncio.gather(models.prepare([settings]), models.prepare([settings]))
    assert len(prepared) == 1
