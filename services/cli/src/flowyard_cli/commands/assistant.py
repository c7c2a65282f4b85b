"""`flowyard assistant`: the workflow that writes workflows, made for this installation."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Final

from flowyard.api.client import Client
from flowyard.drafts.assistant import NAME, Facts, assistant_document, guide
from flowyard.language.nodes import ModelSettings
from flowyard.language.providers import DEFAULT_MODELS
from flowyard.llm.keys import KEY_VARIABLES
from flowyard.llm.litellm_prices import longest_reply
from flowyard.llm.terms import LITELLM_NAMES
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, stack_command
from flowyard_cli.installation import installation_of, prices_of
from flowyard_cli.models import read_model
from flowyard_cli.remote.stack import at_the_stack
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard assistant --model anthropic/claude-sonnet-4-5 > assistant.yaml
  flowyard assistant --model openai/gpt-5 --apply

Then it is a model with the name assistant: describe what you want, and it answers with a whole document that was
checked, and whose tests have passed. Nothing of it is applied or run."""
_DEFAULT: Final = f"local/{DEFAULT_MODELS['local']}"
USD: Final = "2.00"


@dataclass(frozen=True, kw_only=True)
class AssistantArgs(StackArgs):
    """`usd`: most that a turn may cost."""

    model: str | None
    usd: Decimal
    apply: bool


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument("--model", metavar="PROVIDER/MODEL", help="the model that writes; a large one writes better")
    parser.add_argument(
        "--usd", metavar="AMOUNT", type=_amount, default=USD, help=f"most that an answer may cost (default: {USD})"
    )
    parser.add_argument("--apply", action="store_true", help="give it to the stack, instead of printing it")
    carry_out(parser, AssistantArgs, execute)


def execute(args: AssistantArgs) -> int:
    document = document_for(args.model, args.usd, os.environ)
    if args.model is None:
        say(f"flowyard: written for {_DEFAULT}, which is too small to write workflows well: choose one with --model")
    if args.apply:
        return at_the_stack(partial(_apply, document=document), args)
    put(document.rstrip())
    return exits.OK


def document_for(model: str | None, usd: Decimal, environ: Mapping[str, str]) -> str:
    """The document for this machine. Raises InvalidInputs, WrongVariable."""
    settings = ModelSettings(*read_model(model or _DEFAULT))
    installation = installation_of(environ)
    facts = Facts.of(installation, _known_models(environ))
    longest = longest_reply(LITELLM_NAMES.get(settings.provider, settings.provider), settings.model)
    price = str(usd) if installation.has_price(settings) else None
    return assistant_document(settings, facts, usd=price, longest=longest)


def guide_for(environ: Mapping[str, str]) -> str:
    """How workflows are written, for a model of somebody else. Raises WrongVariable."""
    facts = Facts.of(installation_of(environ), _known_models(environ))
    return guide(ModelSettings(*read_model(_DEFAULT)), facts, usd=None)


def _known_models(environ: Mapping[str, str]) -> list[str]:
    """Those with prices of one's own, and the providers whose keys are there: their names alone."""
    providers = (name for name, variables in KEY_VARIABLES.items() if any(environ.get(each) for each in variables))
    return [*prices_of(environ).prices, *(f"any of {name}" for name in sorted(providers))]


def _apply(client: Client, args: AssistantArgs, *, document: str) -> int:
    applied = client.apply(NAME, document.encode())
    if args.json:
        print_json(applied.model_dump(mode="json"))
    else:
        put(f"{applied.name}: revision {applied.revision}, {'created' if applied.created else 'unchanged'}")
    return exits.OK


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= 1_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount above 0")
    return amount
