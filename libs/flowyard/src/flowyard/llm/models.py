"""The door to every model: `open_models` for calls, `check_keys` before a run. Cheap to import."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from flowyard.errors import ModelNotInstalled, ModelRefused
from flowyard.language.workflow import ModelSettings
from flowyard.llm import keys, local_files
from flowyard.llm.calls import Model, ModelCall, ModelReply, OnToken
from flowyard.llm.threads import in_daemon_thread


class PreparedModel(Model, Protocol):
    """A model that has something to open before its first call."""

    async def prepare(self, settings: ModelSettings) -> None: ...


class Models:
    """Answers each call with the model that `call.settings.provider` names. Made by `open_models`."""

    def __init__(self, environ: Mapping[str, str], scripted: Model | None, stack: AsyncExitStack) -> None:
        self._environ = environ
        self._scripted = scripted
        self._stack = stack
        self._opened: dict[str, PreparedModel] = {}
        self._opening = asyncio.Lock()

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """One call is at most one request: retries and fallbacks are the caller's.

        Raises ModelError; MissingApiKey and ModelNotInstalled if `check_keys` wasn't asked before.
        """
        model = await self._model(call.settings)
        return await model.reply(call, on_token)

    async def prepare(self, settings: Iterable[ModelSettings]) -> None:
        """Opens now what the first call would open otherwise, so that no timeout counts it: LiteLLM, the local server.

        The local server of a fallback waits until it is needed. Raises what `reply` raises.
        """
        for each in settings:
            for one in _with_fallbacks([each]):
                if one.provider != "scripted" and (one is each or one.provider != "local"):
                    await (await self._open(one)).prepare(one)

    async def _model(self, settings: ModelSettings) -> Model:
        if settings.provider == "scripted":
            return self._scripted or _no_script(settings)
        return await self._open(settings)

    async def _open(self, settings: ModelSettings) -> PreparedModel:
        kind = _kind(settings)
        if kind not in self._opened:
            async with self._opening:
                if kind not in self._opened:
                    self._opened[kind] = await self._open_kind(kind, settings)
        return self._opened[kind]

    async def _open_kind(self, kind: str, settings: ModelSettings) -> PreparedModel:
        match kind:
            case "local":
                return await self._open_local()
            case "direct":
                return await self._open_direct()
            case _:
                return await self._open_litellm(settings)

    async def _open_local(self) -> PreparedModel:
        # Inline: httpx takes 0.1 s to import, and a scripted run needs none of it.
        from flowyard.llm.local_model import open_local_model  # noqa: PLC0415

        return await self._stack.enter_async_context(open_local_model())

    async def _open_direct(self) -> PreparedModel:
        # Inline: see _open_local.
        from flowyard.llm.direct_model import open_direct_model  # noqa: PLC0415

        return await self._stack.enter_async_context(open_direct_model(self._environ))

    async def _open_litellm(self, settings: ModelSettings) -> PreparedModel:
        _require("litellm", settings)
        # Inline and in a thread: litellm takes 2 to 4 s to import, which the other runs of this loop need not wait for.
        module = await in_daemon_thread(lambda: import_module("flowyard.llm.litellm_model"))
        model: PreparedModel = await self._stack.enter_async_context(module.open_litellm(self._environ))
        return model


@asynccontextmanager
async def open_models(environ: Mapping[str, str], *, scripted: Model | None = None) -> AsyncIterator[Models]:
    """Opens every model on demand and closes what it opened: the local model's process, the HTTP connections.

    `environ` holds the API keys; `scripted` answers `provider: scripted`. No call may outlive the block.
    """
    async with AsyncExitStack() as stack:
        yield Models(environ, scripted, stack)


def check_keys(settings: Iterable[ModelSettings], environ: Mapping[str, str]) -> None:
    """Tells before a run what would stop it: every model and each of its fallbacks has its key and its package.

    Costs nothing for the well-known providers; LiteLLM is imported to judge any other name. Raises MissingApiKey,
    ModelNotInstalled, or ModelRefused for a provider that nobody knows.
    """
    for each in _with_fallbacks(settings):
        keys.find_key(each, environ)
        if each.provider == "local":
            local_files.find_model_file(each)
        elif _kind(each) == "litellm":
            _require("litellm", each)
        if not keys.is_known(each.provider):
            # Inline: litellm, see above. A typo is worth the wait.
            from flowyard.llm.litellm_model import check_provider  # noqa: PLC0415

            check_provider(each, environ)


def _kind(settings: ModelSettings) -> str:
    if settings.provider in ("local", "scripted"):
        return settings.provider
    return "direct" if keys.is_direct(settings) else "litellm"


def _with_fallbacks(settings: Iterable[ModelSettings]) -> Iterator[ModelSettings]:
    for each in settings:
        yield each
        yield from _with_fallbacks(each.fallbacks)


def _require(package: str, settings: ModelSettings) -> None:
    if package not in sys.modules and find_spec(package) is None:
        install = "pip install 'flowyard[llm]'"
        raise ModelNotInstalled(provider=settings.provider, package=package, install=install)


def _no_script(settings: ModelSettings) -> Model:
    raise ModelRefused("no canned replies were given", provider=settings.provider, model=settings.model)
