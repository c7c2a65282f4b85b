"""Tools that reach out, called by the nodes of documents: by an executor, with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from flowyard.outbound.allowlist import PUBLIC_ONLY, Allowlist
from flowyard.outbound.client import open_outbound
from flowyard.runs.run import Run
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import NO_SERVICES, ToolServices
from support.attempts import Attempts, MiniExecutor, WireModel
from support.outside import outside, redirect
from support.reaching import LOOPBACK, answering
from support.wire.behaviour import Behaviour, Text
from support.wire.server import Request
from support.workflows import document


@asynccontextmanager
async def reaching(
    executor: MiniExecutor, services: ToolServices = NO_SERVICES, addresses: Allowlist = LOOPBACK
) -> AsyncIterator[MiniExecutor]:
    async with open_outbound({}, addresses) as http:
        executor.parts = replace(executor.parts, tools=ToolRegistry(built_in(replace(services, http=http))))
        yield executor


def node(tool: str, arguments: str, *, allow: str = "*") -> str:
    return document(
        "",
        fields="found: any",
        nodes=f"- {{id: find, tool: {{{tool}: {{allow: ['{allow}']}}}}, with: {{{arguments}}}, outputs: [found]}}",
    )


async def ran(attempts: Attempts, text: str, addresses: Allowlist = LOOPBACK) -> Run:
    await attempts.submit(text)
    async with reaching(attempts.executor(), addresses=addresses) as executor:
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
