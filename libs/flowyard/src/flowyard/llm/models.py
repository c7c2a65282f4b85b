"""Every model: `open_models` for calls, `check_keys` before a run. Cheap to import."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from flowyard.errors.steps import (
    JsonFormRefused,
    MissingApiKey,
    ModelError,
    ModelNeverRan,
    ModelNotInstalled,
    ModelRefused,
)
from flowyard.language.installation import KEYS_AND_TOKENS, Variables
from flowyard.language.nodes import ModelSettings
from flowyard.language.values.json_schema import property_names
from flowyard.llm import keys, local_files, references
from flowyard.llm.attachments import as_refused_content, refuse_unsendable
from flowyard.llm.calls import REPLY_LIMIT, JsonSchema, Model, ModelCall, ModelReply, OnToken
from flowyard.llm.clouds import CLOUDS
from flowyard.llm.json_forms import RefusedForms
from flowyard.llm.own_prices import NO_PRICES, PriceTable, cost_at, highest
from flowyard.llm.providers import is_direct, located
from flowyard.llm.reasoning import REASONING_LIMIT, split_reasoning
from flowyard.llm.references import Sources
from flowyard.llm.terms import Terms, known_terms
from flowyard.llm.tool_calls import masked_call, names_in
from flowyard.secrets.masking import MaskedStream, Masker
from flowyard.threads import in_daemon_thread

if TYPE_CHECKING:
    from aiohttp import ClientSession

_MAX_MASKERS: Final = 256
_LONG: Final = 64 * 1024
"""Characters of a reply: a longer one isn't masked in the event loop."""


class PreparedModel(Model, Protocol):
    """A model that can open early what its first call needs."""

    async def prepare(self, settings: ModelSettings) -> None:
        """Opens what a call with these settings needs. Raises what `reply` raises."""


class Models:
    """Answers each call with the model that `call.settings.provider` names. Made by `open_models`."""

    def __init__(
        self,
        environ: Mapping[str, str],
        scripted: Model | None,
        stack: AsyncExitStack,
        *,
        files: Path | None = None,
        reply_limit: int = REPLY_LIMIT,
        litellm: Collection[str] = (),
        prices: PriceTable = NO_PRICES,
        variables: Variables = KEYS_AND_TOKENS,
    ) -> None:
        self._litellm = litellm
        self._environ = environ
        self._prices = prices
        self._reply_limit = reply_limit
        self._sources = Sources(environ, files, variables)
        self._maskers: dict[tuple[keys.Place, frozenset[str]], Masker] = {}
        self._refused_forms = RefusedForms()
        self._scripted = scripted
        self._stack = stack
        self._session: ClientSession | None = None
        self._opened: dict[str, PreparedModel] = {}
        # A lock per kind, so that a direct call doesn't wait for LiteLLM's import.
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """Sends at most one request: the caller does retries and fallbacks.

        The reply and its tokens are masked: they contain neither the key, nor secret headers, nor `call.secrets`.

        Raises ModelError; after JsonFormRefused, the call is worth another request. Also MissingApiKey and
        ModelNotInstalled if `check_keys` wasn't called before.
        """
        given = located(call.settings, self._environ)
        settings, referenced = references.resolve(given, self._sources)
        request = call if settings is call.settings else replace(call, settings=settings)
        if settings.provider != "scripted":
            model: Model = await self._open(call.settings)
        elif self._scripted is not None:
            model = self._scripted
        else:
            raise ModelRefused("there are no canned replies", provider=settings.provider, model=settings.model)
        is_direct = _client_kind(settings, self._litellm) == "direct"
        refuse_unsendable(settings, request.messages, is_direct=is_direct)
        masker = self._masker(request, referenced)
        stream = MaskedStream(masker, on_token) if on_token is not None and masker else None
        receive = stream.add if stream is not None else on_token
        try:
            if call.schema is None:
                reply = await model.reply(request, receive)
            else:
                reply = await self._json_reply(model, request, call.schema, receive)
        except ModelError as error:
            if (refused := as_refused_content(error, request)) is not None:
                raise refused from error
            raise
        if stream is not None:
            stream.end()
        if (price := self._prices.of(settings)) is not None:
            reply = replace(reply, cost_usd=cost_at(price, reply.usage))
        reply = _without_reasoning(reply)
        if not masker:
            return reply
        # With its reasoning, whose length is limited, too.
        if len(reply.text) + sum(len(each.arguments) for each in reply.tool_calls) <= _LONG:
            return _masked(reply, request, masker)
        return await asyncio.to_thread(_masked, reply, request, masker)

    async def _json_reply(
        self, model: Model, call: ModelCall, schema: JsonSchema, on_token: OnToken | None
    ) -> ModelReply:
        forms = self._refused_forms
        request = replace(call, json_form=forms.best(call, schema))
        try:
            return await model.reply(request, on_token)
        except (ModelRefused, ModelNeverRan) as error:
            if not forms.add(request, error):
                raise
            following = forms.best(call, schema)
            detail = (
                f"llm.json: {request.json_form} isn't taken, so it is called again with {following}: {error.detail}"
            )
            raise JsonFormRefused(detail, provider=error.provider, model=error.model) from error

    def _masker(self, call: ModelCall, referenced: frozenset[str]) -> Masker:
        if call.secrets:
            # Not cached: these secrets belong to one run.
            return Masker(keys.reply_secrets(call.settings, self._environ, referenced) | call.secrets)
        access = keys.place_of(call.settings), referenced
        if (masker := self._maskers.get(access)) is None:
            if len(self._maskers) >= _MAX_MASKERS:
                self._maskers.clear()
            secrets = keys.reply_secrets(call.settings, self._environ, referenced)
            masker = self._maskers[access] = Masker(secrets)
        return masker

    async def terms(self, call: ModelCall, prompt: int) -> Terms:
        """The price of the call's model for a prompt of at most `prompt` tokens. Raises what `reply` raises."""
        terms = known_terms(call) or await self._listed_terms(call, prompt)
        price = self._prices.of(call.settings)
        return terms if price is None else replace(terms, price=highest(price))

    async def _listed_terms(self, call: ModelCall, prompt: int) -> Terms:
        await self._open(call.settings)
        kind = _client_kind(call.settings, self._litellm)
        # Slow to import; _open_client has imported it in a thread.
        module = import_module("flowyard.llm.direct_model" if kind == "direct" else "flowyard.llm.litellm_model")
        listed: Terms = module.terms_of(call.settings, prompt=prompt)
        return listed

    async def prepare(self, settings: Iterable[ModelSettings]) -> None:
        """Opens LiteLLM and the local server now instead of in the first call, so that no timeout includes it.

        The local server of a fallback isn't started until it is needed. Raises what `reply` raises, after all others
        have been prepared.
        """
        errors: list[ModelError] = []
        for model in _needed_first(settings):
            try:
                await (await self._open(model)).prepare(model)
            except ModelError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def preparable(self, settings: Iterable[ModelSettings]) -> Iterator[ModelSettings]:
        """The models to prepare before any run, of these and their fallbacks: those of LiteLLM whose key is set.

        They take seconds, and only the first takes memory. A local server takes memory for each model.
        """
        for model in _with_fallbacks(settings):
            if _client_kind(model, self._litellm) == "litellm" and _has_key(model, self._environ):
                yield replace(model, fallbacks=())

    async def _open(self, settings: ModelSettings) -> PreparedModel:
        kind = _client_kind(settings, self._litellm)
        if kind not in self._opened:
            async with self._opening[kind]:
                if kind not in self._opened:
                    self._opened[kind] = await self._open_client(kind, settings)
        return self._opened[kind]

    async def _open_client(self, kind: str, settings: ModelSettings) -> PreparedModel:
        if kind in ("direct", "local"):
            return await self._open_direct(kind)
        _require_litellm(settings)
        # Inline and in a thread: importing litellm takes 2 to 4 s, and must not block the other runs of this loop.
        module = await in_daemon_thread(lambda: import_module("flowyard.llm.litellm_model"))
        model: PreparedModel = await self._stack.enter_async_context(
            module.open_litellm(self._environ, self._reply_limit)
        )
        return model

    async def _open_direct(self, kind: str) -> PreparedModel:
        # Inline: aiohttp takes 0.2 s to import, and a scripted run needs none of it.
        from flowyard.llm.direct_model import DirectModel, load_prices  # noqa: PLC0415
        from flowyard.llm.local_model import open_local_model  # noqa: PLC0415
        from flowyard.llm.openai_wire import open_session  # noqa: PLC0415

        async with self._opening["session"]:
            if self._session is None:
                self._session = await self._stack.enter_async_context(open_session())
        if kind == "direct":
            await load_prices()
            return DirectModel(self._session, self._environ, self._reply_limit)
        return await self._stack.enter_async_context(open_local_model(self._session, self._reply_limit))


@asynccontextmanager
async def open_models(
    environ: Mapping[str, str],
    *,
    scripted: Model | None = None,
    files: Path | None = None,
    reply_limit: int = REPLY_LIMIT,
    litellm: Collection[str] = (),
    prices: PriceTable = NO_PRICES,
    variables: Variables = KEYS_AND_TOKENS,
) -> AsyncIterator[Models]:
    """Opens models when they are first called. At the end, stops the local server and closes the HTTP connections.

    `environ`: has the API keys, and must not change. `scripted`: the model for `provider: scripted`. `files`: the only
    folder whose files headers may refer to. `reply_limit`: most bytes of a reply. `litellm`: providers that are called
    through LiteLLM although they needn't be. `prices`: those of the installation.
    `variables`: those that a call's settings may name. No call may outlive the block.
    """
    async with AsyncExitStack() as stack:
        yield Models(
            environ,
            scripted,
            stack,
            files=files,
            reply_limit=reply_limit,
            litellm=litellm,
            prices=prices,
            variables=variables,
        )


def check_keys(
    settings: Iterable[ModelSettings],
    environ: Mapping[str, str],
    files: Path | None = None,
    *,
    litellm: Collection[str] = (),
    variables: Variables = KEYS_AND_TOKENS,
) -> None:
    """Checks before a run that each model and fallback has its key and its package.

    Fast for the well-known providers; for any other name LiteLLM is imported. Raises MissingApiKey, ModelNotInstalled,
    VariableNotAllowed, or ModelRefused for an unknown provider, an address of a variable that can't be one, or a
    header whose reference is missing.
    """
    for each in _with_fallbacks(settings):
        references.resolve(each, Sources(environ, files, variables))
        keys.find_key(located(each, environ), environ)
        if each.provider == "local":
            local_files.find_model_file(each)
        elif _client_kind(each, litellm) == "litellm":
            _require_litellm(each)
            _require_package(each)
        if not keys.covers(each.provider):
            # Inline: imports litellm, which takes seconds. Only for a provider that may be a typo.
            from flowyard.llm.litellm_model import check_provider  # noqa: PLC0415

            check_provider(each, environ)


def _without_reasoning(reply: ModelReply) -> ModelReply:
    reasoning, text = split_reasoning(reply.text)
    if not reasoning:
        return reply
    return replace(
        reply, text=text, reasoning="\n".join(filter(None, (reply.reasoning.strip(), reasoning)))[:REASONING_LIMIT]
    )


def _masked(reply: ModelReply, call: ModelCall, masker: Masker) -> ModelReply:
    reasoning = reply.reasoning
    if len(reasoning) >= REASONING_LIMIT:
        # It may have been cut off within a secret.
        reasoning = reasoning[: masker.safe_length(reasoning)]
    if call.schema is None:
        text = masker.text(reply.text)
    else:
        text = masker.json(reply.text, frozenset(property_names(call.schema)))
    reasoning, why = masker.text(reasoning), masker.text(reply.ending.why)
    known = names_in(call)
    calls = tuple(masked_call(each, masker, known) for each in reply.tool_calls)
    if (text, reasoning, why, calls) == (reply.text, reply.reasoning, reply.ending.why, reply.tool_calls):
        return reply
    return replace(reply, text=text, reasoning=reasoning, ending=replace(reply.ending, why=why), tool_calls=calls)


def _client_kind(settings: ModelSettings, litellm: Collection[str]) -> str:
    if settings.provider in ("local", "scripted"):
        return settings.provider
    return "direct" if is_direct(settings, litellm) else "litellm"


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


def _needed_first(settings: Iterable[ModelSettings]) -> Iterator[ModelSettings]:
    """The models to open before a run: none for canned replies, and no local server of a fallback."""
    for primary in settings:
        for model in _with_fallbacks([primary]):
            if model.provider != "scripted" and (model is primary or model.provider != "local"):
                yield model


def _require_litellm(settings: ModelSettings) -> None:
    if "litellm" not in sys.modules and find_spec("litellm") is None:
        install = "pip install 'flowyard[llm]'"
        raise ModelNotInstalled(provider=settings.provider, package="litellm", install=install)


def _require_package(settings: ModelSettings) -> None:
    cloud = CLOUDS.get(settings.provider)
    if cloud is not None and cloud.module and not _is_installed(cloud.module):
        install = f"pip install {cloud.package}"
        raise ModelNotInstalled(provider=settings.provider, package=cloud.package, install=install)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # Of the package around it.
        return False
