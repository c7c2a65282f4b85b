"""What the containers are allowed, and what is in their images."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from support.compose import VERSION, Composed, docker, inspect
from support.visitor import Visitor
from support.waiting import eventually, eventually_blocking

SERVERS = ("postgres", "nats", "registry", "executor", "gateway", "dashboard", "sandbox", "mlflow", "prometheus")
OPEN = {"gateway", "dashboard", "mlflow", "prometheus"}
HEALTHY_WITHIN_S = 90
BASE = "python:3.13-slim-trixie"
MOST_MB = {"registry": 100, "gateway": 100, "dashboard": 100, "executor": 400, "sandbox": 200}
"""Above the image of Python."""
SECRETS = "flowyard/secrets:1"
TOOLS = "pip pip3 uv uvx gcc cc g++ make ld npm node curl git"
INSIDE = ("http://gateway:8400", "http://dashboard:8401", "http://postgres:5432", "http://nats:4222")
REPORTED = """\
flow: {name: reported-inside}
state: {fields: {a: {type: int, default: 1}}}
nodes: [{id: keep, set: {a: 2}}]
on_finish:
"""


def described(compose: Composed, service: str) -> list[dict[str, Any]]:
    inspected = [inspect(container) for container in compose.project.containers(service)]
    assert inspected, service
    return inspected


def test_the_stack_is_healthy_in_time(compose: Composed) -> None:
    assert compose.up_s < HEALTHY_WITHIN_S


@pytest.mark.parametrize("service", SERVERS)
def test_no_process_is_root_or_can_become_more_than_it_is(compose: Composed, service: str) -> None:
    containers = compose.project.containers(service)

    def all_have_few() -> bool:
        return all(rights(container) == ({"0"}, {"1"}, False) for container in containers)

    # The engine begins a health check as root, for a moment: that process isn't there any more at another look.
    eventually_blocking(all_have_few, explain=lambda: str([rights(container) for container in containers]))


def rights(container: str) -> tuple[set[str], set[str], bool]:
    """Of all processes in it: their capabilities, whether they can get no new ones, and whether one of them is root."""
    listed = docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/status")
    printed = [line.split() for line in listed.splitlines()]
    capabilities = {f"{int(field, 16):x}" for name, field, *_ in printed if name.startswith("Cap")}
    ids = {field for name, *fields in printed if name in {"Uid:", "Gid:"} for field in fields}
    return capabilities, {field for name, field, *_ in printed if name == "NoNewPrivs:"}, "0" in ids


@pytest.mark.parametrize("service", SERVERS)
def test_what_is_in_an_image_can_not_be_changed(compose: Composed, service: str) -> None:
    for inspected in described(compose, service):
        assert inspected["HostConfig"]["ReadonlyRootfs"] is True
        assert inspected["HostConfig"]["Privileged"] is False
        refused = docker("exec", inspected["Id"], "sh", "-c", "touch /here /usr/here /etc/here 2>&1 || true")
        assert refused.count("Read-only file system") == 3


def test_nothing_is_reached_from_another_machine(compose: Composed) -> None:
    published = {
        (service, binding["HostIp"])
        for service in SERVERS
        for inspected in described(compose, service)
        for bindings in inspected["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }
    assert published == {(service, "127.0.0.1") for service in OPEN}


async def test_no_notification_is_sent_to_a_container_of_the_stack(visitor: Visitor) -> None:
    receivers = "".join(f"  - {{url: '{url}/', auth: none}}\n" for url in INSIDE)
    await visitor.apply("reported-inside", REPORTED + receivers)
    run = await visitor.ended(await visitor.submit("reported-inside"))

    async def tried() -> list[dict[str, Any]]:
        items = (await visitor.get("/v1/notifications", run=run["id"]))["items"]
        answers = [(await visitor.get(f"/v1/notifications/{item['id']}"))["answers"] for item in items]
        return [answer for each in answers for answer in each] if all(answers) else []

    answers = await eventually(tried)
    assert len(answers) == len(INSIDE)
    assert {answer["status"] for answer in answers} == {None}
    assert all("FLOWYARD_OUTBOUND_ALLOW" in answer["failure"] for answer in answers), answers


def test_postgres_and_nats_are_out_of_reach_of_who_has_no_business_there(compose: Composed) -> None:
    reached_by = {
        "postgres": {"data"},
        "nats": {"data", "code"},
        "prometheus": {"core", "doors", "code"},
        "sandbox": {"code"},
    }
    for service, networks in reached_by.items():
        (inspected,) = described(compose, service)
        assert inspected["NetworkSettings"]["Networks"].keys() == {
            f"{compose.project.name}_{name}" for name in networks
        }


@pytest.mark.parametrize("image", [SECRETS, *(f"flowyard/{name}:{VERSION}" for name in (*MOST_MB, "cli", "mlflow"))])
def test_no_image_has_tools_to_build_or_to_fetch_anything(compose: Composed, image: str) -> None:
    look = f"for tool in {TOOLS}; do command -v $tool; done; find / -xdev -name 'pip' -path '*-packages*'; true"
    printed = docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", look)
    assert printed == ""


def test_images_are_small(compose: Composed) -> None:
    base: int = inspect(BASE)["Size"]
    mb = {name: (inspect(f"flowyard/{name}:{VERSION}")["Size"] - base) / 1e6 for name in (*MOST_MB, "cli", "mlflow")}
    compose.measured.append(f"MB above {BASE}: {', '.join(f'{name} {size:.0f}' for name, size in mb.items())}")
    assert {name: size for name, size in mb.items() if size > MOST_MB.get(name, size)} == {}


def test_a_key_that_was_replaced_by_mistake_twice_can_still_be_had(compose: Composed) -> None:
    volume = f"{compose.project.name}_keys"
    root = ("run", "--rm", "--network=none", f"--volume={volume}:/run/flowyard", "--volume=/volumes")
    keys = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
    try:
        for key in keys:
            docker(*root, f"--env=FLOWYARD_SECRET_KEY={key}", SECRETS)
        before = docker(*root, "--entrypoint=cat", SECRETS, "/run/flowyard/made/secret_key.before")
    finally:
        docker("volume", "rm", "--force", volume)
    assert before.split() == keys[:2]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("admin_kye", b"fy_", "admin_kye in deploy/secrets/own is no secret (did you mean admin_key?)"),
        ("admin_key", "fy_ä".encode("utf-16"), "admin_key in deploy/secrets/own can't be read as a text in UTF-8"),
        ("admin_key", b"\xef\xbb\xbffy_", "admin_key should be an API key"),
    ],
)
def test_a_given_secret_that_can_not_be_used_is_named(
    compose: Composed, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    tmp_path.chmod(0o755)
    given = ("--network=none", f"--volume={tmp_path}:/given:ro", "--volume=/run/flowyard", "--volume=/volumes")
    with pytest.raises(AssertionError) as refused:
        docker("run", "--rm", *given, SECRETS)
    assert said in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_the_pages_of_mlflow_fetch_nothing_from_the_web(compose: Composed) -> None:
    """Their JavaScript names addresses of pictures and films; links that people follow are others."""
    look = "grep -rhoE 'https://mlflow[.]org/[^\"]*[.](mp4|png|svg|gif|jpg|webm)' /opt/flowyard/lib || true"
    image = f"flowyard/mlflow:{VERSION}"
    assert docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", look) == ""
