from __future__ import annotations

from typing import Any

import pytest

from flowyard.errors.steps import InvalidApiKey, MissingApiKey, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm.keys import access_to
from flowyard.llm.models import check_keys, open_models


def settings(provider: str = "openai", **given: Any) -> ModelSettings:
    return ModelSettings(provider, "m", **given)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("google", "GEMINI_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("fireworks_ai", "FIREWORKS_AI_API_KEY"),
    ],
)
def test_a_missing_key_is_reported_by_its_variable(provider: str, variable: str) -> None:
    with pytest.raises(MissingApiKey, match=f"{provider}/m needs an API key: .* {variable} "):
        check_keys([settings(provider)], {})


@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_google_takes_either_of_its_variables(variable: str) -> None:
    check_keys([settings("google")], {variable: "x"})


def test_an_empty_key_is_a_missing_key() -> None:
    with pytest.raises(MissingApiKey):
        check_keys([settings()], {"OPENAI_API_KEY": ""})


def test_white_space_around_a_key_is_dropped() -> None:
    assert access_to(settings(), {"OPENAI_API_KEY": " \tsk-sesame\r\n"}).key == "sk-sesame"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (" \n\t ", "is blank"),
        ("sk-sesame\nsk-other", r"contains the control character U\+000A"),
        ("sk-\x00sesame", r"contains the control character U\+0000"),
        ("sk-\x7fsesame", r"contains the control character U\+007F"),
        ("“sk-sesame”", "contains the typographic quote “"),
        ("\u2018sk-sesame\u2019", "contains the typographic quote \u2018"),
        ("sk-sesame\u200b", r"contains the character U\+200B"),
        ('"sk-sesame"', 'contains the quote "'),
        ("'sk-sesame'", "contains the quote '"),
        ("sk-`sesame", "contains the quote `"),
        ("Bearer sk-sesame", "contains a blank"),
        ("sk-sesame\u00a0sk-other", r"contains the character U\+00A0"),
    ],
    ids=ascii,
)
def test_what_cant_be_a_key_is_reported_before_the_run(key: str, why: str) -> None:
    with pytest.raises(InvalidApiKey, match=rf"^openai/m: the environment variable OPENAI_API_KEY {why}: ") as caught:
        check_keys([settings()], {"OPENAI_API_KEY": key})
    assert caught.value.code == "invalid_api_key"
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "variable"), [("infinity", "INFINITY_API_KEY"), ("bedrock", "AWS_BEARER_TOKEN_BEDROCK")]
)
@pytest.mark.parametrize(("key", "why"), [("'sesame'", "the quote '"), ("sesame\n", r"the control character U\+000A")])
def test_a_key_that_litellm_reads_by_itself_is_looked_at_too(provider: str, variable: str, key: str, why: str) -> None:
    with pytest.raises(InvalidApiKey, match=f"{variable} contains {why}: "):
        check_keys([settings(provider)], {variable: key})


def test_a_blank_variable_doesnt_hide_the_next_one() -> None:
    assert access_to(settings("google"), {"GEMINI_API_KEY": " ", "GOOGLE_API_KEY": "x"}).key == "x"


def test_a_blank_variable_that_the_document_names_is_reported_also_on_this_machine() -> None:
    local = {"api_base": "http://127.0.0.1:8000/v1"}
    check_keys([settings(**local)], {"OPENAI_API_KEY": " "})
    with pytest.raises(InvalidApiKey, match="TEAM_API_KEY is blank"):
        check_keys([settings(**local, api_key_env="TEAM_API_KEY")], {"TEAM_API_KEY": " "})


@pytest.mark.parametrize("provider", ["ollama", "scripted", "hosted_vllm"])
def test_some_providers_need_no_key(provider: str) -> None:
    check_keys([settings(provider)], {})


def test_a_document_may_name_the_variable() -> None:
    with pytest.raises(MissingApiKey, match="TEAM_API_KEY"):
        check_keys([settings(api_key_env="TEAM_API_KEY")], {"OPENAI_API_KEY": "x"})
    check_keys([settings("ollama", api_key_env="TEAM_API_KEY")], {"TEAM_API_KEY": "x"})


def test_a_fallback_needs_its_key_too() -> None:
    primary = settings("ollama", fallbacks=(settings("groq", fallbacks=(settings("xai"),)),))
    with pytest.raises(MissingApiKey, match="XAI_API_KEY"):
        check_keys([primary], {"GROQ_API_KEY": "x"})


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000/v1", "http://localhost:8000/v1", "http://[::1]:8000"])
def test_a_server_on_this_machine_may_do_without_a_key(base: str) -> None:
    check_keys([settings(api_base=base)], {})


def test_a_server_elsewhere_needs_a_key() -> None:
    with pytest.raises(MissingApiKey):
        check_keys([settings(api_base="http://10.0.0.7:8000/v1")], {})


@pytest.mark.parametrize("base", ["http://[::1", "http://[localhost]/v1"])
def test_a_broken_address_is_reported_before_a_run(base: str) -> None:
    with pytest.raises(ModelRefused, match="its api_base must be an address"):
        check_keys([settings(api_base=base)], {})


def test_a_misspelled_provider_is_reported() -> None:
    with pytest.raises(ModelRefused, match=r"antropic/m: no such provider \(did you mean 'anthropic'\?\)"):
        check_keys([settings("antropic")], {})


def test_the_key_variable_of_a_rare_provider_comes_from_litellm() -> None:
    with pytest.raises(MissingApiKey, match="INFINITY_API_KEY"):
        check_keys([settings("infinity")], {})
    check_keys([settings("infinity")], {"INFINITY_API_KEY": "x"})


def test_a_missing_model_file_is_reported_before_the_run() -> None:
    pytest.importorskip("xllamacpp")
    with pytest.raises(ModelRefused, match=r"write 'smollm2-135m' or the path of a \.gguf file"):
        check_keys([settings("local")], {})


def test_secrets_are_what_the_environment_and_the_headers_call_so() -> None:
    environ = {
        "X_KEY": "key-0123",
        "x_token": "tok-0123",
        "X_SECRET": " sec-0123\n",
        "HOME": "/home/me",
        "A_KEY": "short",
    }
    headers = {"extra_headers": {"Authorization": "Bearer own-0123"}, "headers": {"X-Team": "team-0123"}, "seed": 7}
    access = access_to(settings("ollama", extra=headers), environ, {"Y_KEY": "other-0123"})
    assert access.secrets == {
        "key-0123",
        "tok-0123",
        "sec-0123",
        "Bearer own-0123",
        "own-0123",
        "team-0123",
        "other-0123",
    }


async def test_a_missing_key_is_found_behind_a_model_that_cant_be_opened() -> None:
    nowhere = ModelSettings("local", "nowhere.gguf")
    async with open_models({"OPENAI_API_KEY": "k"}) as models:
        with pytest.raises(ModelRefused, match="nowhere"):
            await models.prepare([nowhere, ModelSettings("openai", "m")])
        with pytest.raises(MissingApiKey):
            await models.prepare([nowhere, ModelSettings("openai", "m", api_key_env="TEAM_API_KEY")])
