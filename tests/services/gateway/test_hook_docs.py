"""Each document of docs/triggers.md starts a run with the payload that follows it, as its sender signs it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

import pytest

from flowyard.language.load import load_text
from flowyard.language.triggers import Webhook
from flowyard.storage.database import Database
from flowyard.webhooks.request import HookRequest
from services.gateway.conftest import Starting
from support.documents import ROOT
from support.hook_senders import send
from support.hooks import FORM, JSON, PARTIES
from support.queued import apply

PAGE: Final = (ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")
SHOWN: Final = re.findall(r"### (\w+)\n.*?```yaml\n(.*?)```\n\n```json\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_a_document_for_each_kind() -> None:
    assert {name for name, _, _ in SHOWN} == {party.sender for party in PARTIES.values()}


@pytest.mark.parametrize(("name", "text", "payload"), SHOWN, ids=[name for name, _, _ in SHOWN])
async def test_the_document_starts_a_run_with_its_payload(
    starting: Starting, database: Database, monkeypatch: pytest.MonkeyPatch, name: str, text: str, payload: str
) -> None:
    workflow = load_text(text, "shown.yaml").workflow
    assert workflow is not None
    [trigger] = workflow.triggers.values()
    assert isinstance(trigger.source, Webhook)
    for variable in re.findall(r"\$\{env:(\w+)\}", text):
        monkeypatch.setenv(variable, PARTIES[name].secret)
    await apply(database, text)
    body, kind = (urlencode(json.loads(payload)), FORM) if name == "twilio" else (payload, JSON)
    async with starting() as gateway:
        url = f"{str(gateway.client.base_url).rstrip('/')}/hooks/{trigger.source.path}"
        headers = (("content-type", kind), ("x-github-event", "issues"))
        request = PARTIES[name].signed(HookRequest("POST", url, headers, body.encode()), datetime.now(UTC))
        response = await send(gateway.client, request)
        assert response.status_code in (200, 202), response.text
        [delivery] = (await gateway.client.get("/v1/deliveries")).json()["items"]
        assert (delivery["outcome"], delivery["reason"]) == ("started", None)
        run = (await gateway.client.get(f"/v1/runs/{delivery['run_id']}")).json()
    assert set(run["inputs"]) == set(trigger.inputs)
