"""What headers refer to, and that it doesn't come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused, VariableNotAllowed
from flowyard.language.installation import Variables
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.models import check_keys, open_models
from support.wire.behaviour import Odd, Status, Text
from support.wire.openai import openai_server
from support.wire.server import Request

KEY, TENANT, SECRET = "sesame-open-now", "tenant-4711-abc", "s3cret-of-somebody"
ENVIRON = {"OWN_API_KEY": KEY, "TENANT_TOKEN": TENANT, "FLOWYARD_SECRET_KEY": "never", "TWO_LINES_TOKEN": "a\nb"}


def settings(url: str = "http://127.0.0.1:9", **headers: str) -> ModelSettings:
    extra = {"extra_headers": headers}
    return ModelSettings("openai_like", "m", api_base=url, api_key_env="OWN_API_KEY", extra=extra)


def call(given: ModelSettings) -> ModelCall:
    return ModelCall("n", given, (ChatMessage("user", f"my token is {SECRET}"),), secrets=frozenset({SECRET}))


def everything(request: Request) -> str:
    return f"{json.dumps(dict(request.headers))} {request.body['messages'][0]['content']} done"


async def test_headers_hold_what_they_refer_to(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "signature").write_text("v1-signature\n")
    given = {
        "X-Tenant": "t ${env:TENANT_TOKEN}!",
        "X-Signature": "${file:deep/signature}",
        "X-Plain": "$TENANT {TENANT}",
    }
    async with openai_server([Text("done")]) as server, open_models(ENVIRON, files=tmp_path) as models:
        await models.reply(call(settings(server.url, **given)))
    sent = server.requests[0].headers
    assert (sent["x-tenant"], sent["x-signature"]) == (f"t {TENANT}!", "v1-signature")
    assert sent["x-plain"] == "$TENANT {TENANT}"


@pytest.mark.parametrize("given", [{"api_key_env": "HOME"}, {"extra": {"headers": {"X-A": "${env:HOME}"}}}])
async def test_a_variable_that_documents_may_not_name_is_never_sent(given: dict[str, Any]) -> None:
    environ = {"HOME": "/home/somebody", "TEAM_API_KEY": "sesame"}
    async with openai_server([Text("done")]) as server:
        named = ModelSettings("openai_like", "m", api_base=server.url, **given)
        with pytest.raises(VariableNotAllowed, match=r"set FLOWYARD_DOCUMENT_VARIABLES=\*_API_KEY,\*_TOKEN,HOME"):
            check_keys([named], environ)
        async with open_models(environ) as models:
            with pytest.raises(VariableNotAllowed):
                await models.reply(call(named))
        assert server.requests == []
        allowed = Variables(("HOME",))
        check_keys([named], environ, variables=allowed)
        async with open_models(environ, variables=allowed) as models:
            await models.reply(call(named))
        assert "/home/somebody" in str(server.requests[0].headers)


@pytest.mark.parametrize(
    ("value", "because"),
    [
        ("${env:NO_TOKEN}", "needs the environment variable NO_TOKEN"),
        ("${env:FLOWYARD_SECRET_KEY}", "is a variable of Flowyard"),
        ("${env:flowyard_secret_key}", "is a variable of Flowyard"),
        ("${env:TWO_LINES_TOKEN}", "a character that no header can have"),
        ("${file:nothing}", "needs the file nothing in the folder that FLOWYARD_REFERENCED_FILES names"),
        ("${file:../outside}", "needs the file ../outside"),
        ("${file:/etc/hostname}", "needs the file /etc/hostname"),
        ("${file:link}", "needs the file link"),
        ("${vault:x}", r"no reference '\$\{vault:…\}'"),
    ],
)
def test_what_cannot_be_resolved_is_reported_before_the_call(tmp_path: Path, value: str, because: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("private")
    (folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ModelRefused, match=because) as shown:
        check_keys([settings(**{"X-Tenant": value})], ENVIRON, folder)
    assert "private" not in str(shown.value)


def test_without_a_folder_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("private")
    with pytest.raises(ModelRefused, match="FLOWYARD_REFERENCED_FILES"):
        check_keys([settings(**{"X-Tenant": f"${{file:{tmp_path}/file}}"})], ENVIRON)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reply_spells_nothing_that_was_sent_in_secret(*, streamed: bool) -> None:
    tokens: list[str] = []
    given = {"X-Tenant": "${env:TENANT_TOKEN}", "X-Auth": "Bearer by-hand-12345", "X-Title": "our workflow"}
    async with openai_server(lambda request: Text(everything(request))) as server, open_models(ENVIRON) as models:
        reply = await models.reply(call(settings(server.url, **given)), tokens.append if streamed else None)
    shown = reply.text + "".join(tokens)
    assert not [word for word in (KEY, TENANT, SECRET, "by-hand-12345") if word in shown]
    assert "our workflow" in shown
    assert "my token is ***" in shown
    assert not streamed or "".join(tokens) == reply.text


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_spells_nothing_that_was_sent_in_secret(*, streamed: bool) -> None:
    async with (
        openai_server(
            lambda request: (
                Odd({"error": {"message": everything(request)}})
                if streamed
                else Status(400, message=everything(request))
            )
        ) as server,
        open_models(ENVIRON) as models,
    ):
        with pytest.raises(Exception, match=r"\*\*\*") as shown:
            await models.reply(
                call(settings(server.url, **{"X-Tenant": "${env:TENANT_TOKEN}"})), print if streamed else None
            )
    assert not [word for word in (KEY, TENANT, SECRET) if word in str(shown.value)]
