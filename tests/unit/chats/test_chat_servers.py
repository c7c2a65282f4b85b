"""The servers for tests are taken for the real ones by the clients that others have written."""

# ruff: noqa: PLC0415  # imported where used: each worker collects all tests, and these take seconds to import

from __future__ import annotations

import asyncio

import aiohttp
import httpx
import pytest

from support.chat_servers import TOKEN, chat_server

BUSY = {
    "ok": False,
    "error_code": 429,
    "description": "Too Many Requests: retry after 7",
    "parameters": {"retry_after": 7},
}


async def test_the_telegram_library_takes_the_server_for_telegram(monkeypatch: pytest.MonkeyPatch) -> None:
    import telegram.error
    from telegram.request import HTTPXRequest

    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    async with chat_server("telegram") as server, HTTPXRequest() as client:
        bot = telegram.Bot(TOKEN, base_url=f"{server.url}/bot", request=client)
        sent = await bot.send_message(42, "hello", reply_to_message_id=3)
        assert (sent.text, sent.chat.id, server.texts) == ("hello", 42, ["hello"])
        with pytest.raises(telegram.error.BadRequest, match="too long"):
            await bot.send_message(42, "x" * 4097)
        server.refuse.append((429, BUSY, {}))
        with pytest.raises(telegram.error.RetryAfter):
            await bot.send_message(42, "hello")
        with pytest.raises(telegram.error.InvalidToken):
            await telegram.Bot("1:wrong", base_url=f"{server.url}/bot", request=client).send_message(42, "hello")


async def test_the_whatsapp_library_takes_the_server_for_the_cloud_api() -> None:
    import pywa.client
    import pywa.errors

    async with chat_server("whatsapp") as server:

        def use() -> None:
            with httpx.Client() as session:
                client = pywa.client.WhatsApp(phone_id="9", token=TOKEN, session=session)
                session.base_url = httpx.URL(server.url)
                assert client.send_message("49170", "hello").id == "wamid.1"
                with pytest.raises(pywa.errors.WhatsAppError, match="at most 4096"):
                    client.send_message("49170", "x" * 4097)

        await asyncio.to_thread(use)
        assert (server.texts, server.taken[0].place) == (["hello"], "49170")


async def test_the_slack_library_takes_the_server_for_slack() -> None:
    import slack_sdk.errors
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.webhook.async_client import AsyncWebhookClient

    async with chat_server("slack") as server, aiohttp.ClientSession() as session:
        client = AsyncWebClient(TOKEN, base_url=f"{server.url}/", session=session)
        assert (await client.chat_postMessage(channel="C1", text="hello"))["message"]["text"] == "hello"
        with pytest.raises(slack_sdk.errors.SlackApiError, match="msg_too_long"):
            await client.chat_postMessage(channel="C1", text="x" * 40_001)
        wrong = AsyncWebClient("wrong", base_url=f"{server.url}/", session=session)
        with pytest.raises(slack_sdk.errors.SlackApiError, match="invalid_auth"):
            await wrong.chat_postMessage(channel="C1", text="hello")
        response_url = AsyncWebhookClient(f"{server.url}/commands/T1/1/x", session=session)
        answer = await response_url.send(text="hi", response_type="in_channel")
        assert (answer.status_code, answer.body, server.texts) == (200, "ok", ["hello", "hi"])


async def test_the_discord_library_takes_the_server_for_discord(monkeypatch: pytest.MonkeyPatch) -> None:
    import discord.http

    async with chat_server("discord") as server, aiohttp.ClientSession() as session:
        monkeypatch.setattr(discord.http.Route, "BASE", server.url)
        webhook = discord.Webhook.partial(8, "interaction-token", session=session)
        message = await webhook.send("hello", wait=True)
        assert message.content == "hello"
        with pytest.raises(discord.HTTPException, match="Invalid Form Body"):
            await webhook.send("x" * 2001, wait=True)
        with pytest.raises(discord.HTTPException, match="Invalid Webhook Token"):
            await discord.Webhook.partial(8, "wrong", session=session).send("hello", wait=True)
        assert [each.place for each in server.taken] == ["POST /webhooks/8/interaction-token"]
