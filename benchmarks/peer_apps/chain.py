"""The work that all peers do, in their own environment: a chain of three model calls, over HTTP.

MODEL_URL names an OpenAI-compatible API.
"""

from __future__ import annotations

import os

import aiohttp

_sessions: list[aiohttp.ClientSession] = []


def plan(topic: str) -> str:
    return f"Plan {topic}."


def write(text: str) -> str:
    return f"Write {text}."


def polish(draft: str) -> str:
    return f"Polish {draft}."


async def ask(prompt: str) -> str:
    """The model's reply. One session for all calls, without a limit of connections: the fastest way in Python."""
    if not _sessions:
        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    async with _sessions[0].post(f"{os.environ['MODEL_URL']}/chat/completions", json=body) as answer:
        content: str = (await answer.json())["choices"][0]["message"]["content"]
    return content
