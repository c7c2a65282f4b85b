"""A conversation with a workflow: one message, or one after the other until its user leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import uuid4

from flowyard.api.answering import OutgoingMessage, ReceivedAnswer
from flowyard.api.chat import SessionView
from flowyard.api.client import Client
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard.openai_api.requests import Messages
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs
from flowyard_cli.remote.stack import again
from flowyard_cli.show.dim import say_dim
from flowyard_cli.show.format import plural
from flowyard_cli.talking.answer import Showing, answer_as_data, connection_lost, facts_of, show_answer
from flowyard_cli.talking.prompt import Command, Typed, prepare_editing, read_line, say_unknown
from flowyard_embedded.streams import print_json, say

_LOOKED_THROUGH: Final = 200
"""How many of the newest conversations are compared with a name."""
HINTS: Final = (
    "Ctrl-C while an answer comes cancels it.",
    "A line that ends with \\ is continued; // begins a message with a slash.",
)


@dataclass(frozen=True, slots=True)
class Action:
    """What a command does with the words behind its name. `words`: which, for the help."""

    words: str
    summary: str
    carry_out: Callable[[str], None]


@dataclass(kw_only=True)
class TerminalChat:
    """`session`: its name or id; None: the next message begins one. `quiet`: nothing but answers and errors.

    `words`: of the command that continues it. `history`: what was said before the next message, instead of what is
    stored. `actions`: its further commands, by their names. `on_resume` returns what else there is to say of a
    conversation that is continued.
    """

    client: Client
    args: StackArgs
    workflow: str
    session: str | None
    quiet: bool
    words: Sequence[str]
    showing: Showing = "steps"
    history: Messages = ()
    actions: Mapping[str, Action] = field(default_factory=dict)
    on_resume: Callable[[SessionView], str] = lambda _: ""
    on_answer: Callable[[ReceivedAnswer], None] = lambda _: None
    on_new: Callable[[], None] = lambda: None

    def say_once(self, text: str) -> int:
        """Sends one message. Returns the exit code. Raises what `show_answer` raises, but KeyboardInterrupt."""
        answer = self._answer(text)
        try:
            show_answer(self.client, answer, showing="nothing" if self.args.json else "answer")
        except KeyboardInterrupt:
            if self.args.json:
                print_json({"status": "cancelled"})
            return exits.CANCELLED
        if self.args.json:
            print_json(answer_as_data(self.client, self.workflow, answer))
        elif not self.quiet:
            say_dim(f"conversation {answer.session_id}, {facts_of(self.client, answer)}")
        return exits.OK

    def go_on(self) -> int:
        """Reads messages from the terminal until its user leaves. Returns the exit code."""
        prepare_editing()
        self._greet()
        while True:
            try:
                line = read_line()
            except KeyboardInterrupt:
                say()
                line = Command("quit", "")
            match line:
                case None:
                    say()
                    break
                case Command("quit" | "exit"):
                    break
                case Command():
                    self._attempt(partial(self._carry_out, line))
                case Typed(text):
                    self._turn(text)
        self._say_how_to_continue()
        return exits.OK

    def _answer(self, text: str) -> ReceivedAnswer:
        # A name that nobody else has: the conversation gets its id with its first message.
        session = self.session or uuid4().hex
        message = OutgoingMessage(workflow=self.workflow, text=text, session=session, history=self.history)
        return ReceivedAnswer(self.client, message, on_break=connection_lost)

    def _turn(self, text: str) -> None:
        answer = self._answer(text)
        self._attempt(partial(self._show, answer))
        self.session = self.session or answer.session_id

    def _show(self, answer: ReceivedAnswer) -> None:
        show_answer(self.client, answer, showing=self.showing if self._shows_facts else "answer")
        self.history = ()
        if self._shows_facts:
            say_dim(facts_of(self.client, answer))
        self.on_answer(answer)

    def _attempt(self, work: Callable[[], None]) -> None:
        """An error is a line, and the conversation goes on; so it does after Ctrl-C."""
        try:
            work()
        except KeyboardInterrupt:
            pass
        except InvalidInputs as error:
            for problem in error.problems:
                say(f"flowyard: {problem}")
        except FlowyardError as error:
            say(f"flowyard: {error.message} [{error.code}]")

    @property
    def _shows_facts(self) -> bool:
        return not self.quiet and sys.stderr.isatty()

    @property
    def _commands(self) -> Mapping[str, Action]:
        return {
            **self.actions,
            "new": Action("", "begin another conversation", self._begin_another),
            "help": Action("", "show this", self._help),
            "quit": Action("", "leave; so do Ctrl-D and Ctrl-C", lambda _: None),
        }

    def _carry_out(self, command: Command) -> None:
        action = self._commands.get(command.name)
        if action is None:
            say_unknown(command, self._commands)
        else:
            action.carry_out(command.rest)

    def _begin_another(self, rest: str) -> None:
        del rest
        self._say_how_to_continue()
        self.session, self.history = None, ()
        self.on_new()
        say_dim("a new conversation")

    def _help(self, rest: str) -> None:
        del rest
        for name, action in self._commands.items():
            say(f"  {f'/{name} {action.words}':<14} {action.summary}")
        for hint in HINTS:
            say(f"  {hint}")

    def _greet(self) -> None:
        known = self._known() if self.session is not None else None
        more = self.on_resume(known) if known is not None else ""
        begun = f"{plural(known.turns, 'turn')} so far{more}" if known is not None else "a new conversation"
        if not self.quiet:
            say_dim(f"{self.workflow}: {begun}; /help shows the commands")

    def _known(self) -> SessionView | None:
        """The conversation that is continued, if it is among the newest ones."""
        sessions = self.client.chat_sessions(workflow=self.workflow, most=_LOOKED_THROUGH)
        return next((each for each in sessions if self.session in (each.name, str(each.id))), None)

    def _say_how_to_continue(self) -> None:
        if self.session is not None and not self.quiet:
            say_dim(f"it goes on with: {again(self.args, *self.words, '--session', self.session)}")
