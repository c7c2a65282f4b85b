"""The text of an answer as a client gets it, piece by piece, while tries of the step may begin it again.

What a client has can't be taken back. So a piece is passed on only if it continues what the client has, and the whole
text, which is known at the end, decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from flowyard.llm.reasoning import split_reasoning

_TAGS: Final = ("<think", "<reasoning")
_LONGEST_TAG: Final = 120


@dataclass(slots=True)
class AnswerText:
    """`sent`: what the client has. `restarts`: how often the text has begun again after the client had some of it."""

    sent: str = ""
    restarts: int = 0
    _try: tuple[int, int] = (0, 0)
    _raw: str = ""
    _begun: bool = field(default=False)
    """Whether the text itself has begun: reasoning comes before it."""
    _pieces: str = ""
    """The text so far, of the present try, without white space around it."""
    _spaces: str = ""
    """At its end so far: white space, which counts only if more text comes."""

    def add(self, text: str, *, epoch: int, call: int) -> str:
        """Takes a piece of a reply, and returns what the client gets of it. A greater `epoch` or `call`: it begins
        again; of a smaller one, the rest comes late, and nobody needs it.
        """
        if (epoch, call) < self._try:
            return ""
        if (epoch, call) > self._try:
            self._begin((epoch, call))
        if not self._begun:
            text = self._beginning(text)
        bare = (self._spaces + text).rstrip() if text else ""
        if bare:
            new = self._spaces + text
            self._pieces += bare
            self._spaces = new[len(bare) :]
        else:
            self._spaces += text
        return self._continued(self._pieces)

    def finish(self, text: str) -> str | None:
        """What is missing of the whole text; None: the client has something else."""
        if not text.startswith(self.sent):
            return None
        missing = text[len(self.sent) :]
        self.sent = text
        return missing

    def _begin(self, number: tuple[int, int]) -> None:
        self.restarts += bool(self.sent)
        self._try, self._raw, self._begun, self._pieces, self._spaces = number, "", False, "", ""

    def _beginning(self, text: str) -> str:
        """What of the text so far is no reasoning, once that is clear; until then nothing."""
        self._raw += text
        start = self._raw.lstrip()
        if not start:
            return ""
        if not _may_be_tag(start):
            self._begun = True
            return start
        reasoning, rest = split_reasoning(self._raw)
        if not reasoning and len(start) < _LONGEST_TAG:
            return ""
        if rest and not _may_be_tag(rest):
            self._begun = True
            # The end may be white space in the middle of the text.
            return self._raw[self._raw.rindex(rest) :]
        return ""

    def _continued(self, text: str) -> str:
        if len(text) <= len(self.sent) or not text.startswith(self.sent):
            return ""
        new = text[len(self.sent) :]
        self.sent = text
        return new


def _may_be_tag(text: str) -> bool:
    """Whether a text begins with a tag of reasoning, or may do so once there is more of it."""
    start = text[: max(map(len, _TAGS))].lower()
    return any(start.startswith(tag) or tag.startswith(start) for tag in _TAGS)
