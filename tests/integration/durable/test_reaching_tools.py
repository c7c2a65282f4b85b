"""Tools that reach out, called by the nodes of documents: by an executor, with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flowyard.outbound.allowlist import PUBLIC_ONLY, Allowlist
from flowyard.outbound.client import open_outbound
from flowyard.runs.events import StepId
from flowyard.runs.run import Run
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import NO_SERVICES, MailService, SearchService, SlackService, ToolServices
from support.attempts import Attempts, MiniExecutor, WireModel
from support.outside import outside, redirect
from support.reaching import LOOPBACK, answering
from support.smtp_server import mail_server
from support.stored import Stored
from support.wire.behaviour import Behaviour, Text
from support.wire.server import Request
from support.workflows import document


@asynccontextmanager
async def reaching(
    executor: MiniExecutor, services: ToolServices = NO_SERVICES, addresses: Allowlist = LOOPBACK
) -> AsyncIterator[MiniExecutor]:
    async with open_outbound({}, addresses) as http:
        executor.parts = replace(
            executor.parts, tools=ToolRegistry(built_in(replace(services, http=http, trusted_http=http)))
        )
        yield executor


def node(tool: str, arguments: str, *, allow: str = "*") -> str:
    return document(
        "",
        fields="found: any",
        nodes=f"- {{id: find, tool: {{{tool}: {{allow: ['{allow}']}}}}, with: {{{arguments}}}, outputs: [found]}}",
    )


async def ran(
    attempts: Attempts, text: str, addresses: Allowlist = LOOPBACK, services: ToolServices = NO_SERVICES
) -> Run:
    await attempts.submit(text)
    async with reaching(attempts.executor(), services, addresses) as executor:
        run = await executor.run()
    assert run is not None
    return run


async def test_a_node_reads_from_an_address_that_its_document_allows(attempts: Attempts) -> None:
    async with outside(answering('{"rain": true}')) as server:
        base = f"http://127.0.0.1:{server.port}"
        run = await ran(attempts, node("http.get", f"url: '{base}/days'", allow=f"{base}/*"))
        assert (run.outputs or {})["found"]["body"] == {"rain": True}
        denied = await ran(attempts, node("http.get", f"url: '{base}/days'", allow="https://*"))
    assert denied.error is not None
    assert (denied.error.code, len(server.heads)) == ("tool_error", 1)


async def test_a_node_reaches_no_private_address_directly_or_by_a_redirect(attempts: Attempts) -> None:
    async with outside(redirect("http://10.0.0.8/inside?token=secret")) as server:
        text = node("http.get", f"url: 'http://127.0.0.1:{server.port}/'")
        refused, redirected = await ran(attempts, text, PUBLIC_ONLY), await ran(attempts, text)
    assert len(server.heads) == 1
    for run in (refused, redirected):
        assert run.error is not None
        assert "FLOWYARD_OUTBOUND_ALLOW" in run.error.message
        assert "secret" not in run.error.message


async def test_a_model_gets_what_was_answered_and_what_was_denied(attempts: Attempts) -> None:
    seen = list[str]()

    async with outside(answering('{"rain": true}')) as server:
        base = f"http://127.0.0.1:{server.port}"

        async def ask(request: Request) -> str | Behaviour:
            results = [message["content"] for message in request.body["messages"] if message["role"] == "tool"]
            if not results:
                urls = f"{base}/open/a", f"{base}/open/../admin", "http://169.254.169.254/"
                return Text("", calls=tuple(("http_get", {"url": url}) for url in urls))
            seen.extend(results)
            return "done"

        text = document(
            "",
            fields="answer: str",
            nodes=f"- {{id: ask, prompt: go, outputs: [answer], tools: [http.get: {{allow: ['{base}/open/*']}}]}}",
        )
        await attempts.submit(text)
        async with reaching(attempts.executor(WireModel({"ask": ask}))) as executor:
            run = await executor.run()
        assert run is not None
        assert (run.outputs, len(server.heads)) == ({"answer": "done"}, 1)
    assert '"rain": true' in seen[0]
    assert all("not permitted" in each for each in seen[1:])


SECRET = "word-that-nobody-may-see"
CALLS = {
    "web.search": "query: rain",
    "slack.post": "text: rain, channel: C1",
    "email.send": "to: ada@example.com, subject: Rain, text: It rains.",
    "sql.query": "source: shop, sql: SELECT 1",
}


@pytest.mark.parametrize("tool", CALLS)
async def test_no_secret_of_a_service_gets_into_the_record_of_a_run_or_into_logs(
    tool: str, attempts: Attempts, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """All services refuse, and repeat the secrets that they were given."""
    caplog.set_level("DEBUG")
    async with outside(answering(SECRET, status=401)) as web, mail_server(refused={"mail": f"550 {SECRET}"}) as mail:
        base = f"http://127.0.0.1:{web.port}"
        services = ToolServices(
            search=SearchService(provider="tavily", url=base, key=SECRET),
            slack=SlackService(token=SECRET, base=base),
            mail=MailService(
                host="127.0.0.1", port=mail.port, security="none", sender="a@example.com", user="a", password=SECRET
            ),
            sql={"shop": f"postgresql://a:{SECRET}@127.0.0.1:{web.port}/shop"},
        )
        run = await ran(attempts, node(tool, CALLS[tool]), services=services)
    assert run.error is not None
    assert run.error.code == "tool_error"
    parts = await stored.history.parts(run.id, StepId("find", 1))
    assert SECRET not in "\n".join(map(str, (run, await stored.entries(run.id), parts, caplog.text)))
    assert len(web.heads) + len(mail.mails) + web.connections + len(mail.commands) > 0


async def test_a_node_reads_a_page(attempts: Attempts) -> None:
    page = "<html><head><title>Rain</title></head><body><p>It rains.</p><script>x()</script></body></html>"
    async with outside(answering(page, "text/html")) as server:
        run = await ran(attempts, node("web.fetch", f"url: 'http://127.0.0.1:{server.port}/'"))
    assert ((run.outputs or {})["found"]["title"], (run.outputs or {})["found"]["text"]) == ("Rain", "It rains.")
