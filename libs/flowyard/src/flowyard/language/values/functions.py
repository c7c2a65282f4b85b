"""The functions of expressions: what each makes of its arguments. Pure, and bounded in what they read and make."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeAlias

from flowyard.containers import MOST_CONTAINERS, count_containers
from flowyard.errors.steps import EvaluationError
from flowyard.language.values.durations import DurationError, read_duration
from flowyard.language.values.expression_costs import EvaluationCosts
from flowyard.language.values.limits import read_date, read_datetime
from flowyard.language.values.templates import as_text

Call: TypeAlias = Callable[[list[Any], EvaluationCosts], Any]
ITEM: Final = "item"
"""The name that the second argument of `filter`, `map`, `sorted` and `unique` has for each element of the first."""
_MOST_DIGITS: Final = 4_300
"""Of a number in a text: Python reads no longer ones."""
_MOST_PARTS: Final = 100_000
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Function:
    """`least`, `most`: how many arguments it takes. `call`: None: the evaluator does it by itself.

    `each`: whether its second argument is evaluated for each element of the first, which is its `item`.
    """

    least: int
    most: int
    call: Call | None = None
    each: bool = False


class UnfitArgument(Exception):
    """An argument has another type than the function takes. `number`: of the argument, from 0."""

    def __init__(self, number: int, wanted: str) -> None:
        super().__init__(wanted)
        self.number = number
        self.wanted = wanted


def _length(values: list[Any], _: EvaluationCosts) -> int:
    if not isinstance(values[0], str | list | dict):
        raise UnfitArgument(0, ": it has no length")
    return len(values[0])


def _on_text(work: Callable[..., Any]) -> Call:
    def call(values: list[Any], costs: EvaluationCosts) -> Any:
        return work(*(_text(values, number, costs) for number in range(len(values))))

    return call


def _text(values: list[Any], number: int, costs: EvaluationCosts) -> str:
    value = values[number]
    if not isinstance(value, str):
        raise UnfitArgument(number, ", not text")
    costs.read_some(value)
    return value


def _number(values: list[Any], number: int) -> int | float:
    value = values[number]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitArgument(number, ", not a number")
    return value


def _list(values: list[Any], number: int, costs: EvaluationCosts) -> list[Any]:
    value = values[number]
    if not isinstance(value, list):
        raise UnfitArgument(number, ", not a list")
    costs.read_some(value)
    return value


def ordered(values: list[Any], costs: EvaluationCosts) -> list[Any]:
    """The values, if they have an order: all are numbers, or all are texts. Raises EvaluationError."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise EvaluationError("only numbers or only texts have an order")
        costs.compare_some(value)
    if len({isinstance(value, str) for value in values}) > 1:
        raise EvaluationError("numbers and texts have no order")
    return values


def _sum(values: list[Any], costs: EvaluationCosts) -> Any:
    numbers = _list(values, 0, costs)
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EvaluationError("sum takes a list of numbers")
    return costs.checked_number(sum(numbers))


def _extreme(work: Callable[[list[Any]], Any]) -> Call:
    def call(values: list[Any], costs: EvaluationCosts) -> Any:
        among = ordered(_list(values, 0, costs) if len(values) == 1 else values, costs)
        if not among:
            raise EvaluationError(f"an empty list has no {work.__name__}imum")
        return work(among)

    return call


def _join(values: list[Any], costs: EvaluationCosts) -> str:
    between = _text(values, 1, costs)
    texts = [as_text(item) for item in _list(values, 0, costs)]
    costs.make_some(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _split(values: list[Any], costs: EvaluationCosts) -> list[str]:
    text = _text(values, 0, costs)
    between = _text(values, 1, costs) if len(values) > 1 else None
    if between == "":
        raise EvaluationError("the text to split at is empty")
    parts = text.split(between, _MOST_PARTS)
    if len(parts) > _MOST_PARTS:
        raise EvaluationError(f"the text has more than {_MOST_PARTS:,} parts")
    return parts


def _replace(values: list[Any], costs: EvaluationCosts) -> str:
    text, old, new = (_text(values, number, costs) for number in range(3))
    if not old:
        raise EvaluationError("the text to replace is empty")
    costs.make_some(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _round(values: list[Any], _: EvaluationCosts) -> int | float:
    number = _number(values, 0)
    if len(values) == 1:
        return round(number)
    digits = values[1]
    if isinstance(digits, bool) or not isinstance(digits, int) or not -15 <= digits <= 15:
        raise EvaluationError("the digits of round are a number from -15 to 15")
    return round(float(number), digits)


def _int(values: list[Any], costs: EvaluationCosts) -> Any:
    if not isinstance(values[0], str):
        return int(_number(values, 0))
    text = _text(values, 0, costs).strip()
    if len(text) > _MOST_DIGITS or not text.removeprefix("-").removeprefix("+").isdecimal():
        raise EvaluationError(f"'{text[:60]}' is no whole number")
    return costs.checked_number(int(text))


def _float(values: list[Any], costs: EvaluationCosts) -> float:
    if not isinstance(values[0], str):
        return _as_float(_number(values, 0))
    text = _text(values, 0, costs).strip()
    try:
        number = float(text) if "_" not in text else None
    except ValueError:
        number = None
    if number is None or number - number != 0:
        raise EvaluationError(f"'{text[:60]}' is no number")
    return number


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise EvaluationError("the number is too large") from error


def _str(values: list[Any], costs: EvaluationCosts) -> str:
    text = as_text(values[0])
    costs.read_some(text)
    return text


def _json(values: list[Any], costs: EvaluationCosts) -> str:
    text = _COMPACT.encode(values[0])
    costs.read_some(text)
    return text


def _parse_json(values: list[Any], costs: EvaluationCosts) -> Any:
    text = _text(values, 0, costs)
    if count_containers(text) > MOST_CONTAINERS:
        raise EvaluationError(f"the JSON has more than {MOST_CONTAINERS:,} lists and objects")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"the text is no JSON: {error}") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _moment(values: list[Any], number: int, costs: EvaluationCosts) -> date | datetime:
    """A date, or a moment with a time zone."""
    text = _text(values, number, costs)
    try:
        # What is read may have been written in another form than ours.
        return date.fromisoformat(read_date(text)) if len(text) <= len("2026-01-31") else _at(text)
    except ValueError as error:
        raise EvaluationError(f"'{text[:60]}' is no date or datetime") from error


def _at(text: str) -> datetime:
    return datetime.fromisoformat(read_datetime(text))


def _date(values: list[Any], costs: EvaluationCosts) -> str:
    moment = _moment(values, 0, costs)
    return (moment.date() if isinstance(moment, datetime) else moment).isoformat()


def _date_add(values: list[Any], costs: EvaluationCosts) -> str:
    moment, text = _moment(values, 0, costs), _text(values, 1, costs)
    try:
        seconds = float(read_duration(text.removeprefix("-")))
        after = timedelta(seconds=-seconds if text.startswith("-") else seconds)
        if not isinstance(moment, datetime) and seconds % 86_400:
            raise EvaluationError("only whole days can be added to a date")
        return (moment + after).isoformat()
    except DurationError as error:
        raise EvaluationError(f"{error}: {error.suggestion}") from error
    except OverflowError as error:
        raise EvaluationError("there is no such date") from error


def _date_diff(values: list[Any], costs: EvaluationCosts) -> float:
    later, earlier = _moment(values, 0, costs), _moment(values, 1, costs)
    if isinstance(later, datetime) and isinstance(earlier, datetime):
        return (later - earlier).total_seconds()
    if isinstance(later, datetime) or isinstance(earlier, datetime):
        raise EvaluationError("a date and a datetime have no difference: write date(…)")
    return (later - earlier).total_seconds()


FUNCTIONS: Final[Mapping[str, Function]] = {
    "len": Function(1, 1, _length),
    "lower": Function(1, 1, _on_text(str.lower)),
    "upper": Function(1, 1, _on_text(str.upper)),
    "contains": Function(2, 2),
    "startswith": Function(2, 2, _on_text(str.startswith)),
    "endswith": Function(2, 2, _on_text(str.endswith)),
    "iterations": Function(1, 1),
    "default": Function(2, 2),
    "filter": Function(2, 2, each=True),
    "map": Function(2, 2, each=True),
    "sorted": Function(1, 2, each=True),
    "unique": Function(1, 2, each=True),
    "sum": Function(1, 1, _sum),
    "min": Function(1, 20, _extreme(min)),
    "max": Function(1, 20, _extreme(max)),
    "join": Function(2, 2, _join),
    "split": Function(1, 2, _split),
    "replace": Function(3, 3, _replace),
    "round": Function(1, 2, _round),
    "int": Function(1, 1, _int),
    "float": Function(1, 1, _float),
    "str": Function(1, 1, _str),
    "json": Function(1, 1, _json),
    "parse_json": Function(1, 1, _parse_json),
    "now": Function(0, 0),
    "date": Function(1, 1, _date),
    "date_add": Function(2, 2, _date_add),
    "date_diff": Function(2, 2, _date_diff),
}
