"""The door to every model: `open_models` for calls, `check_keys` before a run. Cheap to import."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from flowyard.language.nodes import ModelSettings
from flowyard.language.values.json_schema import property_names
from flowyard.llm import keys, local_files, references
from flowyard.llm.calls import Model, ModelCall, ModelReply, OnToken
from flowyard.llm.terms import Terms, terms_at_hand
from flowyard.llm.threads import in_daemon_thread
from flowyard.masking import Masker, Stream
from flowyard.step_errors import MissingApiKey, ModelNotInstalled, ModelRefused

_MOST_MASKERS: Final = 256


class PreparedModel(Model, Protocol):
    """A model that has something to open before its first call."""

    async def prepare(self, settings: ModelSettings) -> None: ...


class Models:
    """Answers each call with the model that `call.settings.provider` names. Made by `open_models`."""

    def __init__(
        self, environ: Mapping[str, str], scripted: Model | None, stack: AsyncExitStack, files: Path | None = None
    ) -> None:
        self._environ = environ
        self._files = files
        self._maskers: dict[frozenset[str], Masker] = {}
        self._scripted = scripted
        self._stack = stack
        self._opened: dict[str, PreparedModel] = {}
        # One each: who asks a server directly need not wait for LiteLLM's import.
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """One call is at most one request: retries and fallbacks are the caller's.

        What was sent in secret comes back in no reply: the key, headers, `call.secrets`.

        Raises ModelError; MissingApiKey and ModelNotInstalled if `check_keys` wasn't asked before.
        """
        settings, referred = references.resolve(call.settings, self._environ, self._files)
        asked = replace(call, settings=settings) if referred else call
        model = await self._model(settings)
        masker = self._masker(asked, referred)
        stream = Stream(masker, on_token) if on_token is not None and masker else None
        reply = await model.reply(asked, stream.add if stream is not None else on_token)
        if stream is not None:
            stream.end()
        return replace(reply, text=_masked(reply.text, asked, masker)) if masker else reply

    def _masker(self, call: ModelCall, referred: frozenset[str]) -> Masker:
        own = keys.sent(call.settings, self._environ, referred)
        if call.secrets:
            # Not kept: it goes with its call.
            return Masker(own | call.secrets)
        if own not in self._maskers:
            if len(self._maskers) >= _MOST_MASKERS:
                self._maskers.clear()
            self._maskers[own] = Masker(own)
        return self._maskers[own]

    async def terms(self, call: ModelCall, prompt: int) -> Terms:
        """What the model of a call costs, for a prompt of at most `prompt` tokens. Raises what `reply` raises."""
        known = terms_at_hand(call)
        if known is not None:
            return known
        if _kind(call.settings) == "direct":
            return Terms(None)
        await self._open(call.settings)
        # Inline: it is imported by now, see _open_litellm.
        from flowyard.llm.litellm_model import terms_of  # noqa: PLC0415

        return terms_of(call.settings, prompt=prompt)

    async def prepare(self, settings: Iterable[ModelSettings]) -> None:
        """Opens now what the first call would open otherwise, so that no timeout counts it: LiteLLM, the local server.

        The local server of a fallback waits until it is needed. Raises what `reply` raises.
        """
        for each in settings:
            for one in _with_fallbacks([each]):
                if one.provider != "scripted" and (one is each or one.provider != "local"):
                    await (await self._open(one)).prepare(one)

    def worth_preparing(self, settings: Iterable[ModelSettings]) -> Iterator[ModelSettings]:
        """What of these and their fallbacks to prepare before there is a run: LiteLLM's that have their key.

        They take seconds, and only the first one takes memory. A local server would take it for each model.
        """
        for one in _with_fallbacks(settings):
            if _kind(one) == "litellm" and _has_key(one, self._environ):
                yield replace(one, fallbacks=())

    async def _model(self, settings: ModelSettings) -> Model:
        if settings.provider == "scripted":
            return self._scripted or _no_script(settings)
        return await self._open(settings)

    async def _open(self, settings: ModelSettings) -> PreparedModel:
        kind = _kind(settings)
        if kind not in self._opened:
            async with self._opening[kind]:
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
async def open_models(
    environ: Mapping[str, str], *, scripted: Model | None = None, files: Path | None = None
) -> AsyncIterator[Models]:
    """Opens every model on demand and closes what it opened: the local model's process, the HTTP connections.

    `environ` holds the API keys; `scripted` answers `provider: scripted`; `files`: the one folder whose files headers
    may refer to. No call may outlive the block.
    """
    async with AsyncExitStack() as stack:
        yield Models(environ, scripted, stack, files)


def check_keys(settings: Iterable[ModelSettings], environ: Mapping[str, str], files: Path | None = None) -> None:
    """Tells before a run what would stop it: every model and each of its fallbacks has its key and its package.

    Costs nothing for the well-known providers; LiteLLM is imported to judge any other name. Raises MissingApiKey,
    ModelNotInstalled, or ModelRefused for a provider that nobody knows, or a header that refers to nothing.
    """
    for each in _with_fallbacks(settings):
        keys.find_key(each, environ)
        references.resolve(each, environ, files)
        if each.provider == "local":
            local_files.find_model_file(each)
        elif _kind(each) == "litellm":
            _require("litellm", each)
        if not keys.is_known(each.provider):
            # Inline: litellm, see above. A typo is worth the wait.
            from flowyard.llm.litellm_model import check_provider  # noqa: PLC0415

            check_provider(each, environ)


def _masked(text: str, call: ModelCall, masker: Masker) -> str:
    if call.schema is None:
        return masker.text(text)
    return masker.json(text, frozenset(property_names(call.schema)))


def _kind(settings: ModelSettings) -> str:
    if settings.provider in ("local", "scripted"):
        return settings.provider
    return "direct" if keys.is_direct(settings) else "litellm"


def _has_key(settings: ModelSettings, environ: Mapping[str, str]) -> bool:
    try:
        keys.find_key(settings, environ)
    except MissingApiKey:
        return False
    return True


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
