"""Writes a workflow by talking with the assistant: its versions, what is shown of each, what can be done with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flowyard.api.answering import ReceivedAnswer
from flowyard.api.chat import SessionView
from flowyard.api.client import Client
from flowyard.api.drafts import DraftRequest, DraftView
from flowyard.api.refusals import Refused
from flowyard.drafts.assistant import NAME
from flowyard.drafts.blocks import documents_in
from flowyard.errors.requests import InvalidInputs, UnknownWorkflow
from flowyard.errors.steps import InvalidOutput
from flowyard.openai_api.history import answer_message
from flowyard.openai_api.requests import text_of
from flowyard.runs.entries import decoded
from flowyard.runs.events import RetryScheduled
from flowyard_cli.asking.preparing import applying
from flowyard_cli.asking.sources import shortened
from flowyard_cli.commands.assistant import USD, document_for
from flowyard_cli.grammar import StackArgs
from flowyard_cli.reading import UnreadableFile
from flowyard_cli.remote.stack import again
from flowyard_cli.show.dim import say_dim
from flowyard_cli.show.drafts import draft_lines, headline
from flowyard_cli.show.format import plural
from flowyard_cli.talking.conversation import Action, TerminalChat
from flowyard_cli.talking.prompt import confirm
from flowyard_embedded.streams import put

_LONGEST_FAULT: Final = 1_000
"""Characters of what was wrong with a draft."""


def prepare_assistant(client: Client, model: str | None) -> None:
    """Applies the assistant if the stack doesn't have it, or if `model` (PROVIDER/MODEL) is given.

    Raises InvalidInputs, and what Client raises.
    """
    is_there = _revision_of(client, NAME) is not None
    if model is None and is_there:
        return
    if model is None:
        hint = "name its model with --model PROVIDER/MODEL, such as openai/gpt-5"
        raise InvalidInputs([f"the stack has no workflow '{NAME}' yet: {hint}"])
    document = document_for(model, Decimal(USD), os.environ)
    say_dim(applying(NAME, model, is_there=is_there))
    client.apply(NAME, document.encode())


def chat_of_drafts(client: Client, args: StackArgs, *, session: str | None, quiet: bool) -> TerminalChat:
    """A conversation with the assistant."""
    drafts = Drafts(client=client, args=args)
    chat = TerminalChat(
        client=client,
        args=args,
        workflow=NAME,
        session=session,
        quiet=quiet,
        words=("chat", "--new"),
        showing="drafts",
        on_resume=drafts.read_earlier,
        on_answer=drafts.show_answer,
        on_new=drafts.forget,
    )
    chat.actions = drafts.actions(chat)
    return chat


@dataclass(slots=True)
class Version:
    """A document that the assistant has written. `reply`: the whole answer; `before`: the version that it changes."""

    number: int
    run_id: UUID
    reply: str
    before: Version | None
    view: DraftView | None = None

    @property
    def document(self) -> str:
        return documents_in(self.reply)[-1].text


@dataclass(kw_only=True)
class Drafts:
    """The versions of one conversation. `current`: from which it goes on; None: there is none yet.

    `applied`: the names of the workflows that were applied in it.
    """

    client: Client
    args: StackArgs
    current: Version | None = None
    versions: list[Version] = field(default_factory=list)
    applied: set[str] = field(default_factory=set)

    def read_earlier(self, session: SessionView) -> str:
        """Reads the versions of a conversation that is continued. Returns how many there are, for people."""
        for turn in self.client.chat_turns(session.id):
            answer = answer_message(turn.answer)
            if answer is not None:
                self._add(turn.run_id, text_of(answer))
        return f", {plural(len(self.versions), 'version')}"

    def forget(self) -> None:
        """Another conversation begins."""
        self.current = None
        self.versions.clear()

    def show_answer(self, answer: ReceivedAnswer) -> None:
        """Prints what there is to see of the answer's document. An answer may have none."""
        if answer.run_id is None or not self._add(answer.run_id, answer.text) or self.current is None:
            return
        for view in self.client.events(answer.run_id):
            event = decoded(view.type, view.data)
            if isinstance(event, RetryScheduled) and event.error.code == InvalidOutput.code:
                say_dim(f"a draft went back to the model: {shortened(event.error.message, _LONGEST_FAULT)}")
        self._print(self.current)
        if self._view(self.current).valid:
            say_dim("/apply gives it to the stack, /save FILE writes it to a file; or say what to change")

    def actions(self, chat: TerminalChat) -> Mapping[str, Action]:
        return {
            "apply": Action("[N]", "give the last version, or version N, to the stack", self._apply),
            "save": Action("FILE", "write the last version to a file", self._save),
            "show": Action("[N]", "print a version, and what is known of it", self._show),
            "diff": Action("N", "what has changed since version N", self._diff),
            "versions": Action("", "list the versions", self._list),
            "back": Action("N", "go on from version N", lambda rest: self._back(chat, rest)),
        }

    def _add(self, run_id: UUID, reply: str) -> bool:
        """False if the reply has no document."""
        if not documents_in(reply):
            return False
        self.current = Version(len(self.versions) + 1, run_id, reply, self.current)
        self.versions.append(self.current)
        return True

    def _view(self, version: Version) -> DraftView:
        if version.view is None or version.view.untested:
            last = version.before.reply if version.before is not None else None
            version.view = self.client.draft(DraftRequest(text=version.reply, last=last))
        return version.view

    def _print(self, version: Version) -> None:
        before = version.before.number if version.before is not None else None
        for line in draft_lines(self._view(version), version.number, before):
            put(line)

    def _apply(self, rest: str) -> None:
        version = self._version(rest)
        view = self._view(version)
        if view.name is None or not view.valid:
            raise InvalidInputs([f"version {version.number} isn't valid: nothing was applied"])
        if not all(confirm(question) for question in self._doubts(version, view, view.name)):
            say_dim("nothing was applied")
            return
        applied = self.client.apply(view.name, version.document.encode())
        self.applied.add(view.name)
        put(f"{applied.name}: revision {applied.revision}, {'created' if applied.created else 'unchanged'}")
        inputs = [word for each in view.inputs if each.required for word in ("-i", f"{each.name}=VALUE")]
        say_dim(f"to run it: {again(self.args, 'run', applied.name, *inputs)}")

    def _doubts(self, version: Version, view: DraftView, name: str) -> list[str]:
        """What has to be confirmed before it is applied."""
        doubts = [] if view.passed else [f"the tests of version {version.number} haven't all passed: apply it anyway?"]
        if name not in self.applied and (revision := _revision_of(self.client, name)) is not None:
            doubts.append(f"the stack has a workflow '{name}', revision {revision}, which this would follow: apply it?")
        return doubts

    def _save(self, rest: str) -> None:
        if not rest:
            raise InvalidInputs(["which file? /save haiku.yaml"])
        version, path = self._version(""), Path(rest).expanduser()
        if path.exists() and not confirm(f"{path} exists: overwrite it?"):
            say_dim("nothing was written")
            return
        try:
            path.write_text(version.document, encoding="utf-8")
        except OSError as error:
            raise UnreadableFile(str(path), error) from error
        put(f"wrote version {version.number} to {path}")

    def _show(self, rest: str) -> None:
        version = self._version(rest)
        put(version.document)
        self._print(version)

    def _diff(self, rest: str) -> None:
        current, older = self._version(""), self._version(rest)
        view = self.client.draft(DraftRequest(text=current.reply, last=older.reply))
        put(view.difference or f"nothing differs from version {older.number}")

    def _list(self, rest: str) -> None:
        del rest
        for version in self.versions:
            mark = "*" if version is self.current else " "
            put(f"{mark} {headline(self._view(version), version.number)}")
        if not self.versions:
            say_dim("there is no version yet")

    def _back(self, chat: TerminalChat, rest: str) -> None:
        if not rest:
            raise InvalidInputs(["to which version? /versions lists them"])
        version = self._version(rest)
        # What was said before that version is the input of its run. A request that brings its history replaces that of
        # the conversation.
        earlier: Sequence[Any] = self.client.whole_run(version.run_id).inputs["messages"]
        chat.history = [*earlier, {"role": "assistant", "content": version.reply}]
        self.current = version
        say_dim(f"the next message goes on from version {version.number}")

    def _version(self, text: str) -> Version:
        """The version with this number; without a number the current one. Raises InvalidInputs."""
        if not text and self.current is not None:
            return self.current
        if text.isdecimal() and 1 <= int(text) <= len(self.versions):
            return self.versions[int(text) - 1]
        raise InvalidInputs([f"no version {text}: /versions lists them" if text else "there is no version yet"])


def _revision_of(client: Client, name: str) -> int | None:
    """The number of a workflow's current revision; None: there is no such workflow."""
    try:
        return client.workflow(name).revision
    except Refused as error:
        if error.code != UnknownWorkflow.code:
            raise
        return None
