"""Conversations: found by workflow, key and name, continued by one turn at a time. Each statement names the key."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.errors.requests import UnknownSession
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.runs.entries import decode_failure
from flowyard.runs.run import ENGINE, NewRun, Spending, State
from flowyard.storage.audit import act_columns, act_of
from flowyard.storage.database import Database, dumps
from flowyard.storage.filters import where
from flowyard.storage.runs import IS_CURRENT, PLAIN_ARRAYS, PLAIN_COLUMNS, SPENDING, PlainRun

_NUMBER: Final = 2 + len(PLAIN_ARRAYS)
"""The number of the parameter after those of a plain run."""
_LITERAL: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "\0": None})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose sessions: those that one key has with one workflow."""

    workflow: str
    key_id: str


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as it was read. `turns`: how many it has; a new turn is added only to just so many.

    `busy_with`: the run of its last turn, if that is open.
    """

    id: UUID
    turns: int
    busy_with: UUID | None


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The last turn that succeeded: the messages of its run's input, and its answer, as the run's output has it."""

    messages: Any
    answer: Any


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn, found by its run. `turns`: how many its session has; `is_last`: none of them comes after this one.

    `about`, `output`: as `about` and `answer` of NewTurn. Without what is too large, as in LastTurn.
    """

    session_id: UUID
    turns: int
    workflow: str
    status: State
    is_last: bool
    about: Mapping[str, Any] | None
    output: str
    messages: Any
    answer: Any

    @property
    def session(self) -> OpenSession:
        """To be continued after this turn, if it is the last one and has ended."""
        return OpenSession(self.session_id, self.turns, busy_with=None)


@dataclass(frozen=True, slots=True)
class NewTurn:
    """`session`: as it was read. `new_messages`: how many of the run's messages, the last ones, are new. `messages`,
    `answer`: the input and the output that have them. `opening`: the beginning of the first of the new ones.
    `replaces`: the number of a turn that is left out from now on, with those after it. `about`: what a response repeats
    of its request; None: the turn is no response.
    """

    session: OpenSession
    new_messages: int
    messages: str
    answer: str
    opening: str | None = None
    replaces: int | None = None
    about: Mapping[str, Any] | None = None


class ChatSessions:
    """Opens, continues, lists, renames and deletes sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, owner: Owner, name: str, *, new_id: UUID) -> OpenSession:
        """The session of this name, or with this id; if there is none, it is made, as `new_id`, without a turn."""
        as_id = _id_of(name)
        while True:
            row = await self._database.row(_OPEN, owner.workflow, owner.key_id, name, as_id)
            if row is not None:
                return OpenSession(**row)
            if await self._database.value(_MAKE, new_id, owner.workflow, owner.key_id, name) is not None:
                return OpenSession(new_id, turns=0, busy_with=None)

    async def last_turn(self, session: OpenSession, *, most_bytes: int) -> LastTurn | None:
        """The last turn that has succeeded, and that no later one replaces; None if there is none.

        What has more than `most_bytes` in its messages, or in its answer, isn't read: it couldn't be an input again.
        """
        row = await self._database.row(_LAST, session.id, most_bytes)
        return LastTurn(**row) if row is not None else None

    async def turn_of(self, key_id: str, run_id: UUID, *, most_bytes: int) -> StoredTurn | None:
        """The turn that is this run, of one of the key's sessions; None: there is none."""
        row = await self._database.row(_TURN_OF, run_id, key_id, most_bytes)
        return StoredTurn(**row) if row is not None else None

    async def answers(self, owner: Owner, run_ids: Collection[UUID], *, most_bytes: int) -> dict[UUID, Any]:
        """The outputs with the answers of turns that are responses, by their runs; those that have succeeded.

        All together have no more than `most_bytes`: those of the latest runs are left out.
        """
        rows = await self._database.rows(_ANSWERS, owner.workflow, owner.key_id, list(run_ids), most_bytes)
        return {row["run_id"]: row["answer"] for row in rows}

    async def before_turn(self, session: OpenSession, number: int, *, most_bytes: int) -> LastTurn:
        """What was said before a turn, in `messages`: those of its run without the new ones. None of more than
        `most_bytes`. Raises UnknownSession if there is no such turn.
        """
        row = await self._database.row(_BEFORE, session.id, most_bytes, number)
        if row is None:
            raise UnknownSession(f"{session.id}/{number}")
        return LastTurn(**row)

    async def add_turn(self, turn: NewTurn, run: NewRun, *, by: Actor | None) -> bool:
        """Adds the run as the next turn, and returns when both are on disk.

        False: the session has gone on meanwhile, or is gone; or the run's key was used, or its revision isn't the
        current one any more. Raises InvalidInputs for what JSON can't hold.
        """
        added = await self._database.value(
            _ADD_TURN,
            ENGINE,
            *PlainRun.of(run).values,
            turn.session.id,
            turn.session.turns,
            turn.new_messages,
            turn.messages,
            turn.answer,
            turn.opening,
            turn.replaces,
            dumps(dict(turn.about)) if turn.about is not None else None,
            *act_columns(by),
        )
        return added is not None

    async def page(
        self,
        key_id: str,
        *,
        workflows: Collection[str] | None = None,
        before: UUID | None = None,
        words: str = "",
        unnamed: str | None = None,
        limit: int,
    ) -> list[SessionSummary]:
        """Those of a key that have a turn, newest first. `workflows`: only with these; None: with all. `words`: that
        the title, the opening or the name has to contain, in whatever case. `unnamed`: a pattern of names that aren't
        given by users; conversations with such a name are left out, unless they have a title.
        """
        names = list(workflows) if workflows is not None else None
        pattern = f"%{_escaped(words)}%" if words else None
        clause, args = where(
            ("key_id = {}", key_id),
            ("turns > 0",),
            ("workflow = ANY ({}::text[])", names),
            ("id < {}", before),
            ("concat_ws(' ', title, opening, name) ILIKE {}", pattern),
            ("(title IS NOT NULL OR name !~ {})", unnamed),
        )
        statement = _LIST.format(clause=clause, limit=f"${len(args) + 1}")
        return [_summary(row) for row in await self._database.rows(statement, *args, limit)]

    async def get(self, key_id: str, session_id: UUID) -> SessionSummary:
        """Raises UnknownSession, also for that of another key."""
        clause = "WHERE key_id = $1 AND id = $2"
        row = await self._database.row(_LIST.format(clause=clause, limit="1"), key_id, session_id)
        if row is None:
            raise UnknownSession(str(session_id))
        return _summary(row)

    async def turns(self, key_id: str, session_id: UUID, *, after: int = 0, limit: int, most_bytes: int) -> list[Turn]:
        """In their order, those after number `after`, as many as have no more than `most_bytes`, but at least one."""
        rows = await self._database.rows(_TURNS, session_id, key_id, after, limit, most_bytes)
        return [_turn(row) for row in rows]

    async def rename(self, key_id: str, session_id: UUID, title: str | None) -> None:
        """None: it has no title of its own any more. Raises UnknownSession."""
        if not await self._database.execute(_RENAME, session_id, key_id, title):
            raise UnknownSession(str(session_id))

    async def delete(self, key_id: str, session_id: UUID) -> None:
        """It is neither listed nor continued any more; its runs are kept as others are. Raises UnknownSession."""
        if not await self._database.execute(_DELETE, session_id, key_id):
            raise UnknownSession(str(session_id))


def _id_of(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None


def _summary(row: Mapping[str, Any]) -> SessionSummary:
    values = dict(row)
    spending = Spending(*(values.pop(name) for name in ("calls", "tokens_in", "tokens_out", "cost_usd")))
    return SessionSummary(**values, spending=spending)


def _turn(row: Mapping[str, Any]) -> Turn:
    values = dict(row)
    spending = Spending(*(values.pop(name) for name in ("calls", "tokens_in", "tokens_out", "cost_usd")))
    error = values.pop("error")
    return Turn(**values, error=decode_failure(error) if error is not None else None, spending=spending)


def _escaped(words: str) -> str:
    """As LIKE takes it literally. Postgres has no NUL in texts."""
    return words.translate(_LITERAL)


_OPEN: Final = """
SELECT s.id, s.turns, CASE WHEN r.finished_at IS NULL THEN r.id END AS busy_with
FROM chat_sessions s LEFT JOIN runs r ON r.id = s.last_run
WHERE s.workflow = $1 AND s.key_id = $2 AND (s.name = $3 OR s.id = $4)
ORDER BY s.id = $4 DESC LIMIT 1
"""

_MAKE: Final = """
INSERT INTO chat_sessions (id, workflow, key_id, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (workflow, key_id, name) DO NOTHING RETURNING id
"""

_IS_REPLACED: Final = """EXISTS (
    SELECT FROM chat_turns l WHERE l.session_id = t.session_id AND l.number > t.number AND l.replaces <= t.number
)"""

_LAST: Final = f"""
SELECT CASE WHEN octet_length((r.inputs -> t.messages)::text) <= $2 THEN r.inputs -> t.messages END AS messages,
    CASE WHEN octet_length((r.outputs -> t.answer)::text) <= $2 THEN r.outputs -> t.answer END AS answer
FROM chat_turns t JOIN runs r ON r.id = t.run_id
WHERE t.session_id = $1 AND r.status = 'succeeded' AND NOT {_IS_REPLACED}
ORDER BY t.number DESC LIMIT 1
"""

_TURN_OF: Final = """
SELECT t.session_id, s.turns, s.workflow, r.status, s.last_run = r.id AS is_last, t.about, t.answer AS output,
    CASE WHEN octet_length((r.inputs -> t.messages)::text) <= $3 THEN r.inputs -> t.messages END AS messages,
    CASE WHEN octet_length((r.outputs -> t.answer)::text) <= $3 THEN r.outputs -> t.answer END AS answer
FROM chat_turns t JOIN chat_sessions s ON s.id = t.session_id JOIN runs r ON r.id = t.run_id
WHERE t.run_id = $1 AND s.key_id = $2
"""

_ANSWERS: Final = """
SELECT run_id, answer FROM (
    SELECT r.id AS run_id, r.outputs -> t.answer AS answer,
        sum(octet_length((r.outputs -> t.answer)::text)) OVER (ORDER BY r.id) AS bytes
    FROM chat_turns t JOIN chat_sessions s ON s.id = t.session_id JOIN runs r ON r.id = t.run_id
    WHERE s.workflow = $1 AND s.key_id = $2 AND t.run_id = ANY ($3::uuid[]) AND t.about IS NOT NULL
      AND r.status = 'succeeded'
) found
WHERE bytes <= $4
"""

_BEFORE: Final = """
SELECT CASE WHEN octet_length((r.inputs -> t.messages)::text) <= $2 THEN (
    SELECT coalesce(json_agg(m.value ORDER BY m.place), '[]')
    FROM json_array_elements(r.inputs -> t.messages) WITH ORDINALITY AS m (value, place)
    WHERE m.place <= json_array_length(r.inputs -> t.messages) - t.new_messages
) END AS messages, NULL::json AS answer
FROM chat_turns t JOIN runs r ON r.id = t.run_id
WHERE t.session_id = $1 AND t.number = $3
"""

_PLAIN: Final = ", ".join(
    f"${i}::text::json" if name in ("inputs", "on_finish") else f"${i}::{kind.removesuffix('[]')}"
    for i, (name, kind) in enumerate(zip(PLAIN_COLUMNS.split(", "), PLAIN_ARRAYS, strict=True), start=2)
)
# Whoever comes second waits for the lock of the row, and then it has another number of turns.
_ADD_TURN: Final = f"""
WITH given AS (
    SELECT g.* FROM (SELECT {_PLAIN}) AS g ({PLAIN_COLUMNS}) {IS_CURRENT}
),
session AS (
    SELECT id, turns FROM chat_sessions
    WHERE id = ${_NUMBER}::uuid AND turns = ${_NUMBER + 1}::int AND EXISTS (SELECT FROM given)
    FOR UPDATE
),
started AS (
    INSERT INTO runs ({PLAIN_COLUMNS}, session_id, engine, status, last_seq)
    SELECT given.*, session.id, $1::smallint, 'queued', 1 FROM given, session
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
    RETURNING id, workflow, session_id
),
turn AS (
    INSERT INTO chat_turns (session_id, run_id, number, new_messages, messages, answer, replaces, about)
    SELECT session_id, id, ${_NUMBER + 1}::int + 1, ${_NUMBER + 2}::int, ${_NUMBER + 3}::text, ${_NUMBER + 4}::text,
        ${_NUMBER + 6}::int, ${_NUMBER + 7}::text::json
    FROM started
),
counted AS (
    UPDATE chat_sessions s SET turns = turns + 1, last_run = started.id, used_at = now(),
        opening = CASE
            WHEN ${_NUMBER + 6}::int IS NOT NULL AND NOT EXISTS (
                SELECT FROM chat_turns t
                WHERE t.session_id = s.id AND t.number < ${_NUMBER + 6}::int AND NOT {_IS_REPLACED}
            ) THEN coalesce(${_NUMBER + 5}::text, opening)
            ELSE coalesce(opening, ${_NUMBER + 5}::text)
        END
    FROM started WHERE s.id = started.session_id
),
act AS ({act_of("run.submitted", _NUMBER + 8, "started", objects="ARRAY[id::text]", workflow="workflow")})
SELECT id FROM started
"""

_LIST: Final = f"""
SELECT s.id, s.workflow, s.name, s.title, s.opening, s.turns, s.created_at, s.used_at, spent.*
FROM (SELECT * FROM chat_sessions {{clause}} ORDER BY id DESC LIMIT {{limit}}) s
CROSS JOIN LATERAL (
    SELECT {SPENDING} FROM chat_turns t JOIN model_calls m ON m.run_id = t.run_id WHERE t.session_id = s.id
) spent
ORDER BY s.id DESC
"""

_TURNS: Final = f"""
SELECT number, run_id, status, created_at, messages, answer, replaces, is_replaced, finished_at, error, spent.* FROM (
    SELECT *, sum(bytes) OVER (ORDER BY number) - bytes AS before FROM (
        SELECT t.number, t.run_id, t.replaces, {_IS_REPLACED} AS is_replaced, r.status, r.created_at, r.finished_at,
            r.error, new.messages, r.outputs -> t.answer AS answer,
            octet_length(new.messages::text) + coalesce(octet_length((r.outputs -> t.answer)::text), 0) AS bytes
        FROM chat_turns t
        JOIN chat_sessions s ON s.id = t.session_id
        JOIN runs r ON r.id = t.run_id
        CROSS JOIN LATERAL (
            SELECT coalesce(json_agg(m.value ORDER BY m.place), '[]') AS messages
            FROM json_array_elements(r.inputs -> t.messages) WITH ORDINALITY AS m (value, place)
            WHERE m.place > json_array_length(r.inputs -> t.messages) - t.new_messages
        ) new
        WHERE t.session_id = $1 AND s.key_id = $2 AND t.number > $3
        ORDER BY t.number LIMIT $4
    ) next
) sizes
CROSS JOIN LATERAL (SELECT {SPENDING} FROM model_calls m WHERE m.run_id = sizes.run_id) spent
WHERE before = 0 OR before + bytes <= $5 ORDER BY number
"""

_RENAME: Final = "UPDATE chat_sessions SET title = $3 WHERE id = $1 AND key_id = $2"

_DELETE: Final = "DELETE FROM chat_sessions WHERE id = $1 AND key_id = $2"
