"""The subjects of NATS that triggers may name. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MESSAGES: Final = "flowyard.triggers.>"
"""Messages that a stream keeps until they have started their runs."""
REQUESTS: Final = "flowyard.requests.>"
"""Requests that are answered with the result of their run. No stream keeps them."""
LONGEST: Final = 200
_WORD: Final = r"[A-Za-z0-9_-]+"
_PATTERN: Final = re.compile(rf"({_WORD}|\*)(\.({_WORD}|\*))*(\.>)?")
_ROOT: Final = re.compile(_WORD)
_OWN: Final = "flowyard"


def is_subject(text: str) -> bool:
    """Whether it is a subject, perhaps with NATS' wildcards `*` and `>`."""
    return len(text) <= LONGEST and _PATTERN.fullmatch(text) is not None


def covers(pattern: str, subject: str) -> bool:
    """Whether everything that `subject` matches is matched by `pattern`, too."""
    wanted, given = pattern.split("."), subject.split(".")
    for i, word in enumerate(wanted):
        if word == ">":
            return len(given) > i
        if i >= len(given) or given[i] == ">" or (word != "*" and word != given[i]):
            return False
    return len(wanted) == len(given)


def covered(patterns: Iterable[str], subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in patterns)


def read_subjects(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """`FLOWYARD_TRIGGER_SUBJECTS`: subjects, separated by commas, with `flowyard.triggers.>` as the first one.

    Raises ValueError. None may cover what services send each other, or what NATS sends itself.
    """
    if not isinstance(text, str):
        return text
    subjects = [part.strip() for part in text.split(",") if part.strip()]
    for subject in subjects:
        if not is_subject(subject):
            raise ValueError(f"should be subjects of NATS, separated by commas: '{subject[:LONGEST]}' is none")
        root = subject.split(".")[0]
        if not _ROOT.fullmatch(root):
            raise ValueError(f"'{subject}' begins with a wildcard: the messages of all services would start runs")
        if root.startswith("_") or (root == _OWN and not covers(MESSAGES, subject)):
            raise ValueError(f"'{subject}' is a subject of Flowyard or of NATS itself")
    # JetStream refuses a stream with two subjects that a message could have both.
    return MESSAGES, *(s for s in dict.fromkeys(subjects) if not covers(MESSAGES, s))
