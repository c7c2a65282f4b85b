from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from uuid import UUID

import pytest

from flowyard.bus import subjects
from flowyard.bus.messages import (
    Announcement,
    KeyChanged,
    RunControl,
    RunEvents,
    RunTokens,
    WorkflowChanged,
    WorkQueued,
    decode,
    encode,
)
from flowyard.bus.subjects import PERMISSIONS

RUN = UUID("01990000-0000-7000-8000-000000000001")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

ANNOUNCEMENTS: Sequence[Announcement] = [
    WorkQueued(),
    RunEvents(run_id=RUN, last_seq=7, has_moved=False),
    RunTokens(run_id=RUN, epoch=1, node="write", visit=1, item=2, text="snow"),
    RunControl(run_id=RUN, action="cancel"),
    WorkflowChanged(name="haiku"),
    KeyChanged(id="k1"),
]


def _kind(message: object) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", ANNOUNCEMENTS, ids=_kind)
def test_a_message_of_a_newer_version_can_be_read(message: Announcement) -> None:
    newer = {**json.loads(encode(message)), "key_of_tomorrow": {"a": 1}}
    assert decode(type(message), json.dumps(newer).encode(), subject=message.subject) == message


@pytest.mark.parametrize("message", ANNOUNCEMENTS, ids=_kind)
def test_every_message_has_a_service_that_may_send_it_and_one_that_may_receive_it(message: Announcement) -> None:
    def allowed(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(message.subject, pattern) for pattern in patterns)

    assert any(allowed(service.publish) for service in PERMISSIONS.values())
    assert any(allowed(service.subscribe) for service in PERMISSIONS.values())


def test_no_service_has_an_empty_list_of_subjects_which_would_allow_all() -> None:
    assert all(service.publish and service.subscribe for service in PERMISSIONS.values())


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"null", b'{"run_id": "my secret", "text": "my secret"}'])
def test_what_is_no_message_is_refused_without_quoting_it(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"^\w") as refused:
        decode(RunTokens, payload)
    assert "secret" not in str(refused.value)


def test_a_message_that_came_by_the_subject_of_another_is_refused() -> None:
    forged = encode(RunControl(run_id=RUN, action="cancel"))
    with pytest.raises(ValueError, match="isn't its own"):
        decode(RunControl, forged, subject=subjects.fill(subjects.ANY_RUN_CONTROL, "another"))


@pytest.mark.parametrize("token", ["", "*", ">", "a.b", "a b", "a\n", "a\r\nPUB x", "é", "a" * 129])
def test_an_id_can_neither_be_a_wildcard_nor_leave_its_place_in_a_subject(token: str) -> None:
    with pytest.raises(ValueError, match="part of a subject"):
        subjects.fill(subjects.ANY_RUN_CONTROL, token)
