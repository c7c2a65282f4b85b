"""A real browser, driven over the DevTools protocol. https://chromedevtools.github.io/devtools-protocol/"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from support.waiting import eventually, eventually_blocking

BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ARGS: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--no-first-run", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip


class Tab:
    """One page. `complaints`: what its console has said that isn't fine."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.session: str | None = None
        self.complaints: list[str] = []
        self.requested: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        await self._socket.send_json(message)
        async with asyncio.timeout(20):
            return await answer

    async def listen(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content:
                answer = self._answers.pop(content["id"])
                if "error" in content:
                    answer.set_exception(AssertionError(content["error"]["message"]))
                else:
                    answer.set_result(content["result"])
            else:
                self._note(content["method"], content["params"])

    def _note(self, method: str, params: Any) -> None:
        match method:
            case "Log.entryAdded" if params["entry"]["level"] in ("warning", "error"):
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("warning", "error", "assert"):
                self.complaints.append(str([arg.get("value", arg.get("description")) for arg in params["args"]]))
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"]["text"])
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])

    async def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, *, seconds: float = 15) -> None:
        """Waits for an expression to be true, across pages too."""

        async def is_true() -> bool:
            with suppress(AssertionError):  # the page is just changing
                return bool(await self.run(f"Boolean({script})"))
            return False

        await eventually(is_true, seconds, pause_s=0.05, explain=lambda: script)

    async def open(self, url: str) -> None:
        await self.run("window.isOld = true")
        await self.send("Page.navigate", url=url)
        await self.until("!window.isOld && document.readyState == 'complete'")

    async def click(self, selector: str) -> None:
        """Follows a link or sends a form, and waits for the page that it leads to."""
        await self.run("window.isOld = true")
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")
        await self.until("!window.isOld && document.readyState == 'complete'")

    async def type(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def size(self, width: int, height: int) -> None:
        mobile = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    async def dark(self, *, on: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=features)


@asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """In a context of its own, which knows no cookie of others. All tabs are of one browser, whose start takes 1 s."""
    async with aiohttp.ClientSession() as http, http.ws_connect(_running(), max_msg_size=0) as socket:
        tab = Tab(socket)
        listening = asyncio.create_task(tab.listen())
        context = await tab.send("Target.createBrowserContext", disposeOnDetach=True)
        target = await tab.send("Target.createTarget", url="about:blank", **context)
        tab.session = (await tab.send("Target.attachToTarget", **target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        try:
            yield tab
        finally:
            listening.cancel()


def _running() -> str:
    """The address of the browser. Another one is started if it has crashed."""
    if _browsers and _browsers[-1].process.poll() is None:
        return _browsers[-1].address
    _browsers.append(_start())
    return _browsers[-1].address


@dataclass(frozen=True)
class _Browser:
    process: subprocess.Popen[bytes]
    address: str


_browsers: Final[list[_Browser]] = []


def _start() -> _Browser:
    """Blocks until it listens. It ends with the tests."""
    assert BROWSER is not None
    home = Path(tempfile.mkdtemp(prefix="flowyard-chromium-"))
    process = subprocess.Popen(
        [BROWSER, *_ARGS, f"--user-data-dir={home}", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    atexit.register(_end, process, home)
    return _Browser(process, eventually_blocking(partial(_address, home), pause_s=0.1))


def _address(home: Path) -> str | None:
    with suppress(FileNotFoundError, ValueError):
        port, path = (home / "DevToolsActivePort").read_text().splitlines()
        return f"ws://127.0.0.1:{port}{path}"
    return None


def _end(process: subprocess.Popen[bytes], home: Path) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(home, ignore_errors=True)
