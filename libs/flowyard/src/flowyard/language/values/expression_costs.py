"""What the evaluation of an expression may cost. Counted as it goes on, since its values are known only then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flowyard.errors.steps import EvaluationError

MAX_MADE: Final = 8_000_000
"""Characters of a text, or items of a list, that an expression makes."""
MAX_READ: Final = 25_000_000
"""Characters that an evaluation searches, compares, joins or changes; an item of a list counts as ten."""
MAX_COMPARED: Final = 100_000
"""Values that an evaluation compares: items of lists count one by one."""
MAX_REPEATED: Final = 100_000
"""Parts of an expression that are evaluated once per element of a list: each counts as often as it is evaluated."""
_MAX_INT_BITS: Final = 10_000


@dataclass(slots=True)
class EvaluationCosts:
    """Of one evaluation so far. Each method raises EvaluationError when its limit is exceeded."""

    read: int = 0
    compared: int = 0
    repeated: int = 0

    def read_some(self, value: str | list[Any]) -> None:
        # An item of a list takes the time of ten characters.
        self.read += len(value) if isinstance(value, str) else 10 * len(value)
        if self.read > MAX_READ:
            raise EvaluationError(f"more than {MAX_READ:,} characters are read")

    def compare_some(self, value: Any) -> None:
        self.compared += 1
        if self.compared > MAX_COMPARED:
            raise EvaluationError(f"more than {MAX_COMPARED:,} values are compared")
        if isinstance(value, str):
            self.read_some(value)

    def repeat(self) -> None:
        self.repeated += 1
        if self.repeated > MAX_REPEATED:
            raise EvaluationError(f"more than {MAX_REPEATED:,} parts are evaluated for elements of lists")

    def make_some(self, size: int) -> None:
        if size > MAX_MADE:
            raise EvaluationError(f"a value has more than {MAX_MADE:,} parts")

    def checked_number(self, number: Any) -> Any:
        if isinstance(number, int) and number.bit_length() > _MAX_INT_BITS:
            raise EvaluationError("a number is too large")
        return number
