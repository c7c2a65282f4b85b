"""The settings of services that accept documents and of those that execute them: set the same values for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.language.daily_budgets import read_daily_budgets
from flowyard.language.installation import HOOK_SECRETS, KEYS_AND_TOKENS, Installation, Variables, read_variables
from flowyard.language.message_subjects import MESSAGES, read_subjects
from flowyard.language.tools import NO_RULES, ToolRules, read_rules
from flowyard.language.workflow import Budget
from flowyard.llm.own_prices import NO_PRICES, PriceTable, read_prices
from flowyard.service.code_settings import CodeBoundSettings
from flowyard.service.hook_settings import HookVariables
from flowyard.settings import ServiceSettings
from flowyard.tools.registry import ToolRegistry


class InstallationSettings(ServiceSettings, CodeBoundSettings):
    prices: Annotated[PriceTable, NoDecode, PlainValidator(read_prices)] = Field(
        NO_PRICES,
        description="What models cost, in US dollars per million tokens, as JSON: "
        '{"hosted_vllm/qwen3": {"input": 0.1, "output": 0.4, "cached_input": 0.05}}; "hosted_vllm/*": its other models',
    )

    document_variables: Annotated[Variables, NoDecode, PlainValidator(read_variables)] = Field(
        KEYS_AND_TOKENS,
        description="Environment variables that documents may name in api_key_env and ${env:NAME}: "
        "names and patterns with *, separated by commas",
    )

    hook_variables: HookVariables = HOOK_SECRETS
    trigger_subjects: Annotated[tuple[str, ...], NoDecode, PlainValidator(read_subjects)] = Field(
        (MESSAGES,),
        description="Subjects of NATS, besides flowyard.triggers.>, whose messages are kept for triggers: "
        "separated by commas, with * and >",
    )

    daily_budgets: Annotated[Mapping[str, Budget], NoDecode, PlainValidator(read_daily_budgets)] = Field(
        default_factory=dict,
        description="What workflows may spend per day (UTC), as JSON: "
        '{"triage": {"usd": "1.50", "tokens": 100000, "model_calls": 500}}; "*": each of the other workflows',
    )

    tool_rules: Annotated[ToolRules, NoDecode, PlainValidator(read_rules)] = Field(
        NO_RULES,
        description="Which tools documents may use, as JSON, the first pattern that matches: "
        '{"time.*": "allow", "http.*": "document", "*": "deny"}; "document" (default): as each document says',
    )

    @property
    def installation(self) -> Installation:
        """What documents are checked against."""
        return Installation(
            has_price=self.prices.has_price,
            variables=self.document_variables,
            hook_variables=self.hook_variables,
            subjects=self.trigger_subjects,
            daily_budgets=self.daily_budgets,
            tools=ToolRegistry().facts,
            tool_rules=self.tool_rules,
            code_bounds=self.code_bounds,
        )
