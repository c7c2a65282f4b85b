"""What a request means: whose conversation it belongs to, which of its messages are new, whether a person wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Message: TypeAlias = Mapping[str, Any]
Messages: TypeAlias = Sequence[Message]

SESSION_HEADER: Final = "x-flowyard-session-id"
OPEN_WEBUI_HEADER: Final = "x-openwebui-chat-id"
LONGEST_SESSION: Final = 256
"""Characters of a session's name."""
_OF_METADATA: Final = ("thread_id", "session_id")
_SYSTEM: Final = frozenset({"system", "developer"})
_OPENING: Final = 200
_READ: Final = 4 * _OPENING
# Postgres has no NUL and no halves of surrogate pairs in texts.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Open WebUI's prompts for titles, tags, follow-ups, queries and completions begin with such a heading.
_TASK: Final = re.compile(r"\s*#{1,4}\s*Task:", re.IGNORECASE)


def session_name(headers: Mapping[str, str], metadata: Any, user: Any) -> str | None:
    """The session that a request names, in the order in which the places count; None: it names none.

    `headers`: by their names in lower case.
    """
    of_metadata = [metadata.get(name) for name in _OF_METADATA] if isinstance(metadata, Mapping) else []
    places = (headers.get(SESSION_HEADER), *of_metadata, user, headers.get(OPEN_WEBUI_HEADER))
    return next((place for place in places if isinstance(place, str) and place), None)


def is_background(messages: Messages) -> bool:
    """Whether a front end wants something for itself: a title, tags, follow-up questions. No person has written it."""
    others = [message for message in messages if not _is_system(message)]
    return len(others) == 1 and _TASK.match(text_of(others[0])) is not None


def text_of(message: Message) -> str:
    """The text of a message, of whatever form."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def opening_of(messages: Messages) -> str | None:
    """The beginning of what the user says, in one line, by which a conversation is recognised; None: there is none."""
    texts = (text_of(message) for message in messages if message.get("role") == "user")
    text = next((line for text in texts if (line := " ".join(_UNPRINTABLE.sub(" ", text[:_READ]).split()))), None)
    return text[:_OPENING] if text is not None else None


def has_history(messages: Messages) -> bool:
    """Whether a request brings its history: it has an answer in it. Then what is stored of its session isn't added."""
    return any(message.get("role") == "assistant" for message in messages)


def count_new(messages: Messages) -> int:
    """How many messages at the end are new: those after the last answer."""
    for i, message in enumerate(reversed(messages)):
        if message.get("role") == "assistant":
            return i
    return sum(not _is_system(message) for message in messages)


def joined(earlier: Messages, new: Messages) -> list[Message]:
    """The messages of a session with new ones. System messages among the new ones replace the earlier ones."""
    system = [message for message in new if _is_system(message)]
    rest = [message for message in new if not _is_system(message)]
    kept = [message for message in earlier if not system or not _is_system(message)]
    return [*system, *kept, *rest]


def _is_system(message: Message) -> bool:
    """The messages of a request weren't checked yet: a role may be anything."""
    role = message.get("role")
    return isinstance(role, str) and role in _SYSTEM


def are_of_system(messages: Messages) -> bool:
    """Whether nobody else has said anything."""
    return all(_is_system(message) for message in messages)
