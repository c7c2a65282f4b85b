"""LangGraph's checkpointer on Postgres: JSON only, fenced by the run's claim, resumed from the run's head."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    writes_sort_key,
)

from flowyard.durable.encoding import LARGE, decode, encode, plain, restored
from flowyard.durable.journal import Journal
from flowyard.graph.state import after_update
from flowyard.language.values.reducers import Reducer
from flowyard.storage.checkpoints import Checkpoints, Stored
from flowyard.storage.database import dumps

_ERROR: Final = "__error__"
_NOTHING: Final[Mapping[str, Any]] = {}


class Saver(BaseCheckpointSaver[int]):
    """One per process. A run that is executed here has its journal in `journals`: its writes go there.

    What has no journal is written at once and without a claim, as LangGraph's own savers do.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self.journals: dict[str, Journal] = {}

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names. Without a name: the head of a run, else the newest."""
        at = config["configurable"]
        thread_id, wanted = str(at["thread_id"]), at.get("checkpoint_id")
        journal = self.journals.get(thread_id)
        if journal is not None and wanted is None:
            wanted = journal.claim.head_checkpoint
            if wanted is None:
                return None
        stored = await self._checkpoints.get(thread_id, at.get("checkpoint_ns", ""), wanted)
        if journal is not None and stored is not None and not journal.large:
            journal.resume(_large(stored))
        return _tuple(stored) if stored is not None else None

    async def values_of(self, run_id: str, merging: Mapping[str, Reducer]) -> dict[str, Any] | None:
        """The state that a run resumes with, with the writes of its unfinished superstep; None without a checkpoint."""
        head = await self.aget_tuple({"configurable": {"thread_id": run_id}})
        if head is None:
            return None
        values = dict(head.checkpoint["channel_values"])
        for _, channel, value in head.pending_writes or ():
            values = after_update(values, {channel: value}, merging)
        return values

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        at = config["configurable"] if config is not None else {}
        older = before["configurable"].get("checkpoint_id") if before is not None else None
        async for stored in self._checkpoints.every(
            at.get("thread_id"), at.get("checkpoint_ns"), before=older, metadata=filter or {}, most=limit
        ):
            yield _tuple(stored)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """With a journal it returns at once: the next step waits until the checkpoint is on disk."""
        at = config["configurable"]
        thread_id, ns = str(at["thread_id"]), at.get("checkpoint_ns", "")
        journal = self.journals.get(thread_id)
        written = journal.large if journal is not None else {}
        data, values, large = encode_checkpoint(checkpoint, written)
        metadata_json = dumps({name: value for name, value in metadata.items() if name != "thread_id"})
        row = (ns, checkpoint["id"], at.get("checkpoint_id"), data, metadata_json)
        if journal is not None:
            journal.save(row, values, large)
        else:
            await self._checkpoints.add(thread_id, row, values)
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        at = config["configurable"]
        thread_id, ns = str(at["thread_id"]), at.get("checkpoint_ns", "")
        journal = self.journals.get(thread_id)
        rows = [
            (ns, at["checkpoint_id"], task_id, WRITES_IDX_MAP.get(channel, index), task_path, channel, encode(value))
            for index, (channel, value) in enumerate(writes)
            # The run's events say why a task failed; here it would only prevent the task from running again.
            if journal is None or channel != _ERROR
        ]
        if journal is None:
            await self._checkpoints.add_writes(thread_id, rows)
        elif rows:
            journal.save_writes(task_id, rows)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._checkpoints.delete(thread_id)


def encode_checkpoint(
    checkpoint: Checkpoint, written: Mapping[str, tuple[Any, str]]
) -> tuple[str, list[tuple[str, str]], dict[str, tuple[Any, str]]]:
    """The checkpoint's JSON, the large values to store separately, and all that it refers to (version and digest).

    `written`: the large values that are stored already.
    """
    values: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    refs: dict[str, tuple[Any, str]] = {}
    added: list[tuple[str, str]] = []
    versions = checkpoint["channel_versions"]
    for channel, value in checkpoint["channel_values"].items():
        version = versions.get(channel)
        if channel in written and written[channel][0] == version:
            refs[channel] = written[channel]
            continue
        values[channel], kind = plain(value)
        if kind is not None:
            kinds[channel] = kind
        elif _may_be_large(value):
            text = dumps(value)
            if len(text) > LARGE:
                digest = hashlib.sha256(text.encode()).hexdigest()
                del values[channel]
                refs[channel] = (version, digest)
                added.append((digest, text))
    data = {
        **{name: value for name, value in checkpoint.items() if name != "channel_values"},
        "values": values,
        **({"kinds": kinds} if kinds else {}),
        **({"refs": {channel: digest for channel, (_, digest) in refs.items()}} if refs else {}),
    }
    return dumps(data), added, refs


def _may_be_large(value: Any) -> bool:
    # A character takes up to 12 bytes of JSON: the two halves of a surrogate pair, escaped.
    return len(value) > LARGE // 12 if isinstance(value, str) else isinstance(value, (list, dict)) and bool(value)


def _large(stored: Stored) -> dict[str, tuple[Any, str]]:
    """The large values that a checkpoint refers to: per channel its version and digest."""
    versions = stored.checkpoint["channel_versions"]
    return {channel: (versions.get(channel), digest) for channel, digest in stored.checkpoint.get("refs", {}).items()}


def _tuple(stored: Stored) -> CheckpointTuple:
    data = dict(stored.checkpoint)
    kinds, refs, values = data.pop("kinds", _NOTHING), data.pop("refs", _NOTHING), data.pop("values")
    data["channel_values"] = {
        **{channel: restored(value, kinds.get(channel)) for channel, value in values.items()},
        **{channel: stored.values[digest] for channel, digest in refs.items()},
    }
    ordered = sorted(stored.writes, key=lambda write: writes_sort_key(write[4], write[0], write[1]))
    checkpoint: Any = data
    metadata: Any = dict(stored.metadata)
    return CheckpointTuple(
        _config(stored, stored.id),
        checkpoint,
        metadata,
        _config(stored, stored.parent) if stored.parent is not None else None,
        [(task_id, channel, decode(value)) for task_id, _, channel, value, _ in ordered],
    )


def _config(stored: Stored, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": stored.thread_id, "checkpoint_ns": stored.ns, "checkpoint_id": checkpoint_id}}
