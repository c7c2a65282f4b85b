from __future__ import annotations

from flowyard.language.providers import PROVIDERS


def test_the_providers_are_those_of_litellm_and_our_own() -> None:
    from flowyard.llm.litellm_setup import litellm  # noqa: PLC0415  # seconds of loading, for this test alone

    # An enum where litellm's own lookups take either the member or its text.
    theirs = {getattr(provider, "value", provider) for provider in litellm.provider_list}
    assert theirs | {"google", "local", "scripted"} == PROVIDERS
