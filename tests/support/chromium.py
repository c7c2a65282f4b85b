"""A real browser, driven over the DevTools protocol. https://chromedevtools.github.io/devtools-protocol/"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp

from support.waiting import eventually

BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_LISTENING: Final = re.compile(r"DevTools listening on (ws://\S+)")
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
    assert BROWSER is not None
    home = tempfile.mkdtemp(prefix="flowyard-chromium-")
    process = await asyncio.create_subprocess_exec(
        BROWSER, *_ARGS, f"--user-data-dir={home}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http, http.ws_connect(await _address(process), max_msg_size=0) as socket:
            tab = Tab(socket)
            listening = asyncio.create_task(tab.listen())
            target = await tab.send("Target.createTarget", url="about:blank")
            tab.session = (await tab.send("Target.attachToTarget", **target, flatten=True))["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.send(f"{domain}.enable")
            yield tab
            listening.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        # To the end of what the processes that it has started still write: else its pipe outlives the event loop.
        await process.communicate()
        shutil.rmtree(home, ignore_errors=True)


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(20):
        async for line in process.stderr:
            if announced := _LISTENING.search(line.decode(errors="replace")):
                return announced[1]
    raise AssertionError("the browser ended without telling its address")
