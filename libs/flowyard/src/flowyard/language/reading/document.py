"""The shape of a document, key by key. Both the reader and the JSON Schema for editors are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from flowyard.language.nodes import JsonForm
from flowyard.language.on_finish import MOST_RECEIVERS
from flowyard.language.reading.cases import CaseShape
from flowyard.language.reading.keys import (
    FIELD_NAMES,
    LONG,
    MOST_CASES,
    MOST_CODE,
    MOST_EDGES,
    MOST_EXAMPLES,
    MOST_EXTRAS,
    MOST_FALLBACKS,
    MOST_FIELDS,
    MOST_ROUTES,
    MOST_TAGS,
    MOST_TOKENS,
    MOST_TURNS,
    OLD_KEY,
    SHORT,
    TYPE,
    ErrorCode,
    FirstDelay,
    Identifier,
    LongestDelay,
    Names,
    Seconds,
    Shape,
    TextOrNumber,
    exclusive,
    form_of,
)
from flowyard.language.reading.mcp_servers import McpServersShape
from flowyard.language.reading.on_finish import ReceiverShape
from flowyard.language.reading.sandbox import SandboxShape
from flowyard.language.reading.tools import MOST_TOOLS, ToolForm, ToolPermissionShape
from flowyard.language.reading.triggers import MOST_TRIGGERS, TRIGGER_NAME, TriggerShape
from flowyard.language.tools import OnToolError
from flowyard.language.values.limits import MAX_PATTERN
from flowyard.language.values.types import TextFormat
from flowyard.language.workflow import Durability, OnItemError, Reduce

VERSIONS: Final = ("1.0", "1")


class FlowShape(Shape):
    name: str = Field(min_length=1, max_length=128, description="Name of the workflow, unique in an installation.")
    description: str | None = Field(None, description="What the workflow does, for people.")
    version: TextOrNumber | None = Field(None, description="Your own version of the document.")
    tags: list[str] | None = Field(None, max_length=MOST_TAGS, description="Words for searching.")
    author: str | None = None


class LimitsShape(Shape):
    """The limits of a field's values."""

    enum: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=500, description="The texts that a str can be."
    )
    min: float | None = Field(None, allow_inf_nan=False, description="The least that a number can be.")
    max: float | None = Field(None, allow_inf_nan=False, description="The most that a number can be.")
    pattern: str | None = Field(
        None, min_length=1, max_length=MAX_PATTERN, description="A regular expression that a str fits as a whole."
    )
    format: TextFormat | None = Field(
        None, description="workflow: what a model writes is checked as a document, and its tests are run."
    )
    min_items: int | None = Field(None, ge=0, description="The least number of items of a list.")
    max_items: int | None = Field(None, ge=1, description="The most items of a list.")


class FieldShape(LimitsShape):
    type: str = Field(
        description="str, int, float, bool, date, datetime, dict, list, list[str], dict[str, int], object, message, "
        "any, 'T | null', or texts: 'a' | 'b'.",
        json_schema_extra=TYPE,
    )
    required: bool = Field(default=False, description="Every run must have this input.")
    default: Any = Field(None, description="Value at the start of a run; makes the field an optional input.")
    description: str | None = Field(None, description="Shown to people, and to the model that fills the field.")
    schema_: Mapping[str, FieldForm] | None = Field(
        None,
        alias="schema",
        max_length=MOST_FIELDS,
        description="The fields of an object.",
        json_schema_extra=FIELD_NAMES,
    )
    reduce: Reduce | None = Field(None, description="How several writes to the field are merged.")
    secret: bool = Field(
        default=False, description="A required str that is stored encrypted, never shown, and used in prompts only."
    )


FieldForm: TypeAlias = Annotated[
    Annotated[str, Tag(SHORT), WithJsonSchema({"type": "string", **TYPE})] | Annotated[FieldShape, Tag(LONG)],
    Discriminator(form_of),
]


class StateShape(Shape):
    fields: dict[str, FieldForm] = Field(
        max_length=MOST_FIELDS, description="The typed values that nodes read and write.", json_schema_extra=FIELD_NAMES
    )


class OutputFieldShape(LimitsShape):
    name: str
    type: str = Field(json_schema_extra=TYPE)
    description: str | None = None
    schema_: Mapping[str, FieldForm] | None = Field(None, alias="schema", max_length=MOST_FIELDS)


class OutputSchemaShape(Shape):
    type: str = Field(description="A simple type for one output, or object with fields.", json_schema_extra=TYPE)
    fields: list[OutputFieldShape] | None = Field(None, max_length=MOST_FIELDS)
    description: str | None = None


Dollars: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000)]


class PriceShape(Shape):
    """Prices of a model, in US dollars per million tokens."""

    input: Dollars = Field(description="Of the tokens of a prompt.")
    output: Dollars = Field(description="Of the tokens of a reply.")
    cached_input: Dollars | None = Field(None, description="Of a prompt's tokens that the provider had cached.")


class ModelShape(Shape):
    provider: str | None = Field(
        None, description="openai, anthropic, google, ollama, local, scripted, or any of LiteLLM."
    )
    model: str | None = Field(None, min_length=1, description="The provider's name of the model.")
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, description="Maximum tokens of a reply.")
    api_base: str | None = Field(
        None, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://", description="Address of the API, for example of a proxy."
    )
    api_key_env: Identifier | None = Field(None, description="The environment variable that holds the key.")
    timeout: Seconds | None = Field(None, description="Time that one call may take.")
    extra: dict[str, Any] | None = Field(
        None,
        max_length=MOST_EXTRAS,
        description="Passed to the provider unchanged; in headers, ${env:NAME} stands for that variable's value.",
    )
    json_form: JsonForm | None = Field(None, alias="json", description="How the model is asked for JSON.")
    price: PriceShape | None = Field(None, description="What its tokens cost, in US dollars per million.")
    concurrency: int | None = Field(
        None, ge=1, le=10_000, description="Calls of this workflow to this model that may be made at a time."
    )


class LlmShape(ModelShape):
    fallbacks: list[ModelShape] | None = Field(
        None, max_length=MOST_FALLBACKS, description="Models to call, in order, if this one fails."
    )


class RetryShape(Shape):
    max_retries: int | None = Field(None, ge=0, le=50, description="Attempts after the first.")
    errors: list[ErrorCode] | None = Field(None, min_length=1, description="The errors that are retried.")
    initial_delay: FirstDelay | None = Field(None, description="Time before the first retry.")
    multiplier: float | None = Field(None, ge=1, le=100, description="The delay grows by this factor.")
    max_delay: LongestDelay | None = Field(None, description="Maximum delay.")


RetryForm: TypeAlias = Annotated[
    Annotated[Annotated[int, Field(ge=0, le=50)], Tag(SHORT)] | Annotated[RetryShape, Tag(LONG)], Discriminator(form_of)
]


class GotoShape(Shape):
    goto: str


OnErrorForm: TypeAlias = Annotated[
    Annotated[Literal["fail", "continue"], Tag(SHORT)] | Annotated[GotoShape, Tag(LONG)], Discriminator(form_of)
]


class ExampleShape(Shape):
    inputs: dict[str, Any] = Field(description="Values for the names that the prompt uses.")
    outputs: dict[str, Any] = Field(description="The correct reply for them.")


class HistoryShape(Shape):
    from_: str = Field(alias="from", description="A field of type list[message].")
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="Older turns that exceed them are left out.")
    max_turns: int | None = Field(None, ge=1, le=MOST_TURNS, description="Only so many of the last turns are kept.")


HistoryForm: TypeAlias = Annotated[
    Annotated[str, Tag(SHORT)] | Annotated[HistoryShape, Tag(LONG)], Discriminator(form_of)
]


class NodeShape(Shape):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["outputs"], "anyOf": [{"required": ["prompt"]}, {"required": ["history"]}]},
                {"required": ["outputs", "code"]},
                {"required": ["set"]},
                {"required": ["assert"]},
                {"required": ["tool"]},
            ]
        }
    )

    id: Identifier = Field(
        description="The node's name in edges.", json_schema_extra={"not": {"enum": ["START", "END", "configurable"]}}
    )
    name: str | None = None
    description: str | None = None
    inputs: dict[str, Any] | None = Field(
        None, max_length=MOST_FIELDS, description="Local names: templates or plain values."
    )
    outputs: Names | None = Field(None, description="The state fields that the node writes.")
    prompt: str | None = Field(None, min_length=1, description="The prompt; {field} is replaced by its value.")
    system: str | None = Field(None, description="The system message.")
    history: HistoryForm | None = Field(None, description="The conversation before the prompt: a list[message].")
    output_schema: OutputSchemaShape | None = Field(None, description="Follows from the outputs' types if left out.")
    examples: list[ExampleShape] | None = Field(
        None, max_length=MOST_EXAMPLES, description="Example inputs with their correct outputs."
    )
    llm: LlmShape | None = Field(None, description="Overrides config.llm, key by key.")
    timeout: Seconds | None = Field(None, description="Time that the step may take, its retries included.")
    retry: RetryForm | None = Field(None, description="A number of retries, or how to retry.")
    on_error: OnErrorForm | None = Field(None, description="fail (default), continue, or {goto: node}.")
    log_prompts: bool | None = Field(None, description="false: never keep what is said in its calls.")
    code: str | None = Field(
        None, min_length=1, max_length=MOST_CODE, description="Python, executed in a sandbox; it assigns result."
    )
    sandbox: SandboxShape | None = Field(None, description="With code: its interpreter and its limits.")
    set_: dict[str, Any] | None = Field(
        None,
        alias="set",
        min_length=1,
        max_length=MOST_FIELDS,
        description="Fields to write, without a model: templates, plain values, or {expr: expression}.",
    )
    assert_: str | None = Field(
        None, alias="assert", min_length=1, description="An expression; the step fails unless it holds."
    )
    message: str | None = Field(None, min_length=1, description="With assert: why the step fails.")
    tools: list[ToolForm] | None = Field(None, max_length=MOST_TOOLS, description="What the model may call.")
    max_tool_rounds: int | None = Field(None, ge=1, le=100, description="Replies that may call tools; 8 if left out.")
    on_tool_error: OnToolError | None = Field(None, description="continue (default): the model gets the error; fail.")
    tool: ToolForm | None = Field(None, description="A tool to call, without a model.")
    with_: dict[str, Any] | None = Field(
        None,
        alias="with",
        max_length=MOST_FIELDS,
        description="With tool: its arguments, as templates, plain values, or {expr: expression}.",
    )


class LogicShape(Shape):
    logic: str = Field(min_length=1)


ConditionForm: TypeAlias = Annotated[
    Annotated[str, Tag(SHORT)] | Annotated[LogicShape, Tag(LONG)], Discriminator(form_of)
]
Target: TypeAlias = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "boolean"}], "description": "The default route."})
]


class RouteShape(Shape):
    model_config = exclusive(
        "if", "condition", "default", "else", anyOf=[{"required": [key]} for key in ("to", "default", "else")]
    )

    if_: str | None = Field(None, alias="if", min_length=1)
    condition: ConditionForm | None = None
    to: str | None = None
    default: Target = None
    else_: Target = Field(None, alias="else")


class LoopShape(Shape):
    model_config = exclusive("until", "condition_field")

    to: str | None = Field(None, description="Where each iteration begins; the edge's own node if left out.")
    condition_field: str | None = Field(None, description="A bool field; true ends the loop.")
    until: str | None = Field(None, min_length=1, description="An expression; true ends the loop.")
    max_iterations: int = Field(ge=1, le=1000, description="Maximum number of iterations.")
    exit_to: str = Field("END", description="The node after the loop.")


class ParallelShape(Shape):
    items_field: str = Field(description="A list field: the target runs once per item.")
    target_node: str
    collect_field: str = Field(description="A list field for the results, in the order of the items.")
    item: Identifier | None = Field(None, description="Local name of the item, 'item' if left out.")
    max_concurrency: int | None = Field(None, ge=1, description="Maximum items at the same time.")
    on_item_error: OnItemError | None = None


class EdgeShape(Shape):
    model_config = exclusive("to", "routes", "loop", "parallel", dependentRequired={"condition": ["to"]})

    from_: Names = Field(alias="from", description="A node, START, or a list of nodes to wait for.")
    to: Names | None = Field(None, description="A node, END, or a list of nodes that run in parallel.")
    condition: ConditionForm | None = Field(None, description="With to: makes the edge a route.")
    routes: list[RouteShape] | None = Field(None, min_length=1, max_length=MOST_ROUTES)
    loop: LoopShape | None = None
    parallel: ParallelShape | None = None


class ExecutionShape(Shape):
    timeout: Seconds | None = Field(None, description="Time that a run may take.")
    max_retries: int | None = Field(None, ge=0, le=50, description="Attempts of a step after the first.")
    durability: Durability | None = None
    concurrency: int | None = Field(None, ge=1, description="Maximum runs of the workflow at the same time.")
    priority: int | None = Field(None, ge=-100, le=100)
    max_attempts: int | None = Field(None, ge=1, le=100, description="Maximum claims if executors of the run are lost.")


class BudgetShape(Shape):
    usd: float | None = Field(None, gt=0, le=1_000_000_000, description="Maximum US dollars that a run may cost.")
    tokens: int | None = Field(None, ge=1, le=10**15, description="Maximum tokens of its prompts and replies together.")
    model_calls: int | None = Field(None, ge=1, le=2**31 - 1, description="Maximum calls of models.")


class ConfigShape(Shape):
    llm: LlmShape | None = Field(None, description="The model of all nodes that don't select another in llm.")
    execution: ExecutionShape | None = None
    budget: BudgetShape | None = Field(None, description="What a run may spend; it fails before it spends more.")
    sandbox: SandboxShape | None = Field(None, description="For all code nodes that don't say otherwise.")
    storage: Any = Field(None, json_schema_extra=OLD_KEY)
    observability: Any = Field(None, json_schema_extra=OLD_KEY)


class DocumentShape(Shape):
    """A Flowyard workflow."""

    schema_version: TextOrNumber | None = Field(
        None, description="The language's version: 1.0.", json_schema_extra={"enum": [*VERSIONS, 1, None]}
    )
    flow: FlowShape
    state: StateShape
    result: Names | None = Field(
        None, description="The fields that are the run's outputs; if left out, all that it writes."
    )
    nodes: list[NodeShape] = Field(min_length=1)
    edges: list[EdgeShape] | None = Field(
        None, max_length=MOST_EDGES, description="If left out, the nodes run in order."
    )
    config: ConfigShape | None = None
    tests: list[CaseShape] | None = Field(None, max_length=MOST_CASES, description="Cases for `flowyard test`.")
    triggers: dict[str, TriggerShape] | None = Field(
        None,
        max_length=MOST_TRIGGERS,
        description="What starts runs of the workflow on a server, by name.",
        json_schema_extra={"propertyNames": {"pattern": f"^{TRIGGER_NAME}$"}},
    )
    mcp_servers: McpServersShape | None = Field(None, description="Servers of MCP whose tools nodes may name.")
    on_finish: list[ReceiverShape] | None = Field(
        None, max_length=MOST_RECEIVERS, description="Who is notified by a server when a run has ended."
    )
    webhook: Any = Field(None, json_schema_extra=OLD_KEY)


UNSUPPORTED: Final[Mapping[type[Shape], Mapping[str, str]]] = {
    NodeShape: {
        "workflow": "child workflows", "agent": "agents",
        "human": "human steps", "question": "human steps", "form": "human steps", "on_timeout": "human steps",
        "wait": "waiting", "cache": "caching", "memory": "memory",
    },
    ToolPermissionShape: {"ask": "human steps"},
    ConfigShape: {
        "memory": "memory", "profiling": "profiling",
        "ab_test": "A/B tests", "gates": "quality gates",
    },
}  # fmt: skip
"""Keys of the language that this version can't run: they are reported, never ignored."""


def document_schema() -> dict[str, Any]:
    """The JSON Schema of documents (draft 2020-12), for editors."""
    schema = DocumentShape.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Flowyard workflow",
        **{key: value for key, value in schema.items() if key != "title"},
    }
