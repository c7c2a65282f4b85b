"""`flowyard status`, `agents`, `keys`, and where they look for the stack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowyard.access import KEY_RANDOM, new_key
from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.keys import Keys
from flowyard.storage.pace import ModelPace, Waits
from flowyard_cli.remote.address import Address, NoKey, NoStack, find_address
from flowyard_embedded.faults import WrongVariable
from flowyard_embedded.stack.state import GatewayAccess, write_access
from support.remote import Remote, open_remote

LOCAL, OTHER = "http://127.0.0.1:8400", "https://flowyard.example"
OWN_KEY, GIVEN_KEY = (new_key(bytes([number]) * KEY_RANDOM).text for number in (1, 2))


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        yield remote


async def executor(remote: Remote) -> None:
    capacity = {"slots": 32, "slots_used": 4}
    await Agents(remote.database).register(NewAgent("executor-1", "executor-1", "executor", "0.1.0", "here", capacity))


async def test_a_stack_that_is_well_ends_with_code_0(remote: Remote) -> None:
    await executor(remote)
    ended = await remote.process("status")
    assert ended.code == 0, ended.out + ended.err
    for name in ("gateway", "postgres", "nats", "registry", "executor-1"):
        assert f"\n{name} " in ended.out
    assert "0 queued, 0 running, 0 waiting" in ended.out
    as_json = json.loads((await remote.cli("status", "--json")).out)
    assert (as_json["ok"], as_json["slots"], as_json["queue"]["orphaned"]) == (True, 32, 0)


async def test_a_limit_that_calls_wait_for_has_a_line(remote: Remote) -> None:
    pace = ModelPace(remote.database, lease_s=60)
    for name, calls in (("one", 2), ("two", 3)):
        await pace.show_waits(name, [Waits("openai:TEAM_KEY", calls, 12.0 + calls, rate_limited=False)])
    await executor(remote)
    ended = await remote.cli("status")
    assert "\nwaiting      5 model calls for the limit openai:TEAM_KEY, 15.0 s\n" in ended.out
    await pace.show_waits("one", [])
    [waits] = json.loads((await remote.cli("status", "--json")).out)["limit_waits"]
    assert waits == {"limit": "openai:TEAM_KEY", "calls": 3, "longest_s": 15.0, "rate_limited": False}


async def test_calls_that_wait_since_a_429_are_told_from_those_that_wait_for_a_limit(remote: Remote) -> None:
    pace = ModelPace(remote.database, lease_s=60)
    await pace.show_waits("one", [Waits("openai/gpt-4o-mini", 1, 9.0, rate_limited=False)])
    await pace.show_waits("two", [Waits("openai/gpt-4o-mini", 2, 12.0, rate_limited=True)])
    await executor(remote)
    assert (
        "\nwaiting      3 model calls for openai/gpt-4o-mini, after a 429, 12.0 s\n" in (await remote.cli("status")).out
    )
    [waits] = json.loads((await remote.cli("status", "--json")).out)["limit_waits"]
    assert waits["rate_limited"] is True


async def test_what_is_down_is_named_and_ends_with_code_1(remote: Remote) -> None:
    await remote.registry.end()
    ended = await remote.cli("status", "--json")
    assert ended.code == 1
    down = {service["name"] for service in json.loads(ended.out)["services"] if service["state"] == "down"}
    assert down == {"registry", "executors"}
    as_text = await remote.cli("status")
    assert as_text.code == 1
    assert "\nwrong  registry is down: nothing listens there\n" in as_text.out
    assert "\nwrong  executors is down: none has registered: runs wait\n" in as_text.out
    assert json.loads(ended.out)["wrong"] == [line[7:] for line in as_text.out.splitlines() if line.startswith("wrong")]


async def test_a_gateway_that_is_not_there_is_reported_in_one_line(remote: Remote) -> None:
    await remote.gateway.end()
    ended = await remote.cli("status")
    assert ended.code == 1
    assert ended.err == f"flowyard: can't reach Flowyard at {remote.gateway.url}: connection refused\n"


async def test_agents_are_listed(remote: Remote) -> None:
    assert (await remote.cli("agents")).out == "no agents\n"
    await executor(remote)
    row = (await remote.cli("agents")).out.splitlines()[1].split()
    assert row[:8] == ["executor-1", "executor-1", "executor", "0.1.0", "here", "4", "of", "32"]


async def test_a_key_is_shown_once_and_opens_what_it_is_for_until_it_is_revoked(remote: Remote) -> None:
    made = await remote.cli("keys", "create", "ci", "--scope", "read")
    key = made.out.strip()
    assert (await remote.cli("runs", FLOWYARD_API_KEY=key)).code == 0
    forbidden = await remote.cli("keys", FLOWYARD_API_KEY=key)
    assert forbidden.code == 2
    assert "[forbidden]" in forbidden.err
    listed = await remote.cli("keys")
    assert key not in listed.out
    assert "ci " in listed.out
    key_id = key.split("_")[1]
    assert (await remote.cli("keys", "revoke", key_id)).out == f"key 'ci' with the id {key_id} is revoked\n"
    refused = await remote.cli("runs", FLOWYARD_API_KEY=key)
    assert refused.code == 2
    assert f"the key with the id {key_id}, from FLOWYARD_API_KEY" in refused.err
    assert "flowyard keys create" in refused.err
    assert key not in refused.err


async def test_a_key_has_its_limits_and_a_rotation_prints_another_secret(remote: Remote) -> None:
    limits = ("--workflow", "b", "--workflow", "a", "--rate", "9", "--expires", "2d")
    made = await remote.cli("keys", "create", "ci", "--scope", "run", "--scope", "write", *limits)
    key = made.out.strip()
    key_id = key.split("_")[1]
    assert made.err.startswith(f"key 'ci' with the id {key_id} and the scopes run, write;")
    listed = (await remote.cli("keys")).out
    assert all(text in listed for text in ("a, b", " 9 ", "never", "valid until "))
    rotated = await remote.cli("keys", "rotate", key_id, "--overlap", "1h", "--json")
    new = json.loads(rotated.out)["key"]
    assert new.split("_")[1] == key_id
    for secret in (key, new):
        assert (await remote.cli("runs", FLOWYARD_API_KEY=secret)).code == 0
    assert "old secret until" in (await remote.cli("keys")).out
    third = await remote.cli("keys", "rotate", key_id, "--overlap", "0s")
    assert "the old one is invalid now" in third.err
    for secret, code in ((key, 2), (new, 2), (third.out.strip(), 0)):
        assert (await remote.cli("runs", FLOWYARD_API_KEY=secret)).code == code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("create x --scope run --expires 2020-01-01", "should be in the future"),
        ("create x --scope run --expires soon", "should be a duration such as 7d"),
        ("create x --scope run --rate 0", "should be a number from 1 to"),
        ("create x --scope admin --workflow a", "flowyard: a key with the scope `admin` is for all workflows"),
        ("create x --scope run --workflow a/b", "workflows"),
        ("rotate x", "argument ID: should be the id of a key: see `flowyard keys list`"),
        (f"revoke fy_abcdefgh_{'s' * 40}", "argument ID: should be the id of a key: see `flowyard keys list`"),
        ("rotate k7c2qmzd --overlap 91d", "should be a duration such as 24h"),
        ("rotate k7c2qmzd --overlap 2027-01-01", "should be a duration such as 24h"),
    ],
)
async def test_wrong_limits_of_keys_are_refused(remote: Remote, words: str, told: str) -> None:
    ended = await remote.process("keys", *words.split())
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "sss" not in ended.err


async def test_an_expired_key_is_told_so(remote: Remote) -> None:
    end = datetime.now(UTC) - timedelta(seconds=1)
    _, key = await Keys(remote.database).create("ci", frozenset({"read"}), expires_at=end)
    refused = await remote.cli("runs", FLOWYARD_API_KEY=key)
    assert refused.code == 2
    assert "'ci' expired on" in refused.err
    assert "flowyard keys create" in refused.err


async def test_what_the_api_would_not_take_is_no_internal_error(remote: Remote) -> None:
    ended = await remote.cli("keys", "create", "", "--scope", "read")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("flowyard: name: ")


async def test_the_stack_of_this_machine_is_found_by_what_it_left_in_its_directory(remote: Remote) -> None:
    data = remote.folder / "d"
    nobody = {"FLOWYARD_URL": "", "FLOWYARD_API_KEY": ""}
    none = await remote.process("runs", **nobody)
    assert none.code == 1
    assert none.err == "flowyard: no stack is running: start one with `flowyard up`, or set FLOWYARD_URL\n"
    by_name = await remote.cli("run", "poem", **nobody)
    assert "no file 'poem' here, and no stack is running that could have such a workflow" in by_name.err
    data.mkdir()
    write_access(data / "cli.json", GatewayAccess(remote.gateway.url, SecretStr(remote.key)))
    assert (await remote.cli("runs", **nobody)).code == 0
    await remote.gateway.end()
    assert "no stack is running: start one" in (await remote.cli("runs", **nobody)).err


def find(tmp_path: Path, *, url: str | None = None, data: str | None = None, **variables: str) -> Address:
    environment = {"FLOWYARD_DATA": str(tmp_path), **{f"FLOWYARD_{name}": text for name, text in variables.items()}}
    return find_address(url, data, environment)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    write_access(tmp_path / "cli.json", GatewayAccess(LOCAL, SecretStr(OWN_KEY)))
    return tmp_path


def test_the_key_of_the_local_stack_goes_nowhere_else(local: Path) -> None:
    assert find(local).key.get_secret_value() == OWN_KEY
    assert find(local, URL=f"{LOCAL}/").key.get_secret_value() == OWN_KEY
    with pytest.raises(NoKey):
        find(local, URL=OTHER)
    with pytest.raises(NoKey):
        find(local, url=OTHER)


def test_what_stands_on_the_command_line_wins_over_the_environment(local: Path) -> None:
    variables = {"URL": OTHER, "API_KEY": GIVEN_KEY}
    assert (find(local, **variables).url, find(local, **variables).key_from) == (OTHER, "FLOWYARD_API_KEY")
    assert find(local, url=LOCAL, **variables).url == LOCAL
    own = find(local, data=str(local), **variables)
    assert (own.url, own.key.get_secret_value()) == (LOCAL, OWN_KEY)


@pytest.mark.parametrize("url", ["127.0.0.1:8400", "ftp://there", "http://", "http://[::1", "http://me:secret@there"])
def test_a_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(WrongVariable) as caught:
        find(tmp_path, URL=url, API_KEY=GIVEN_KEY)
    assert "secret" not in str(caught.value)


def test_what_is_no_key_is_sent_to_nobody(tmp_path: Path) -> None:
    with pytest.raises(WrongVariable) as caught:
        find(tmp_path, URL=OTHER, API_KEY="hunter2")
    assert "hunter2" not in str(caught.value)


def test_without_a_stack_and_without_a_url_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match="no stack is running: start one with `flowyard up`, or set FLOWYARD_URL"):
        find(tmp_path)
