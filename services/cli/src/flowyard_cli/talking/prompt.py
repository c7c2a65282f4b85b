"""What is typed at the terminal: lines, edited as `readline` does, and the commands among them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowyard.language.problems import did_you_mean
from flowyard_cli.show.dim import bold_prompt, has_colours
from flowyard_embedded.streams import flush, say

_PROMPT: Final = "> "
_MORE: Final = "… "


@dataclass(frozen=True, slots=True)
class Typed:
    """A message. `text` may have several lines."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A line that begins with a slash: `/save haiku.yaml` has the name `save` and the rest `haiku.yaml`."""

    name: str
    rest: str


Line: TypeAlias = Typed | Command


def prepare_editing() -> None:
    """From now on `input` edits lines, and has a history of them, if this Python has `readline`."""
    with suppress(ImportError):
        import readline  # noqa: PLC0415  # inline: some Pythons have none

        # A pasted text with several lines is one message.
        readline.parse_and_bind("set enable-bracketed-paste on")


def read_line() -> Line | None:
    """The next message or command, without empty ones. None: the input has ended. A line that ends with a backslash
    is continued. Raises KeyboardInterrupt.
    """
    while True:
        lines = []
        try:
            lines.append(_line(_PROMPT))
            while lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1]
                lines.append(_line(_MORE))
        except EOFError:
            if not any(lines):
                return None
        text = "\n".join(lines).strip()
        if text:
            return line_of(text)


def line_of(text: str) -> Line:
    """Two slashes begin a message that begins with one."""
    if text.startswith("//"):
        return Typed(text[1:])
    if not text.startswith("/"):
        return Typed(text)
    name, _, rest = text[1:].partition(" ")
    return Command(name.lower(), rest.strip())


def confirm(question: str) -> bool:
    """Whether the answer is yes. No answer, Ctrl-C and Ctrl-D mean no."""
    try:
        return _line(f"{question} y/N ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        say()
        return False


def say_unknown(command: Command, known: Iterable[str]) -> None:
    hint = did_you_mean(command.name, known)
    say(f"flowyard: no command /{command.name}" + (f" ({hint})" if hint else "; /help lists them"))


def _line(prompt: str) -> str:
    """Raises EOFError, KeyboardInterrupt."""
    flush()
    if not sys.stdout.isatty():
        # Else `input` would write the prompt among the answers.
        say(prompt, end="")
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")
    return input(bold_prompt(prompt) if has_colours(sys.stdout) else prompt)
