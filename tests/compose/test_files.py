"""What can be read from the files of the containers, without Docker."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from flowyard.bus.subjects import ANSWER_WITHIN, PERMISSIONS, READER, READER_PERMISSIONS, SENDER, SENDER_PERMISSIONS
from flowyard.export.addresses import OtelSettings
from flowyard.llm.keys import KEY_VARIABLES
from flowyard.settings import ProcessSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
PROJECT: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
STORING = ("registry", "executor", "gateway", "dashboard")
"""Our services with a database."""
OURS = (*STORING, "sandbox")
ONE_SHOTS = {"secrets", "roles", "migrate", "cli"}
SERVERS = sorted(SERVICES.keys() - ONE_SHOTS)
DEFAULT = re.compile(r"\$\{(\w+):?-((?:[^{}]|\$\{[^{}]*\})*)\}")
NOT_FOR_USERS = {"port", "executor_name", "sandbox_name"}
"""Settings that the compose file leaves as they are: within a container there is nothing to choose."""


def environment(service: str) -> Mapping[str, str | None]:
    actual: Mapping[str, str | None] = SERVICES[service].get("environment", {})
    return actual


def knobs() -> dict[str, str]:
    """Every variable that a user may set, with its default."""
    defaults = {name: DEFAULT.sub(r"\2", default) for name, default in DEFAULT.findall(COMPOSE)}
    inner = {name: default for outer in DEFAULT.findall(COMPOSE) for name, default in DEFAULT.findall(outer[1])}
    passed = {name for service in SERVICES for name, value in environment(service).items() if value is None}
    return {**dict.fromkeys(passed, ""), **inner, **defaults}


def settings_of(service: str) -> type[ProcessSettings]:
    module = import_module(f"flowyard_{service}.settings")
    actual: type[ProcessSettings] = getattr(module, f"{service.capitalize()}Settings")
    return actual


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_container_can_take_more_than_its_share_or_gain_rights(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["init"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["logging"]["options"].keys() == {"max-size", "max-file"}
    assert described["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert not described.keys() & {"privileged", "mem_limit", "pids_limit", "cpus"}


def test_services_that_call_addresses_of_users_can_reach_this_machine() -> None:
    actual = {name for name, service in SERVICES.items() if "extra_hosts" in service}
    assert actual == {"executor", "registry", "gateway"}


def test_the_image_of_postgres_leaves_no_volume_without_a_name_behind() -> None:
    data = "/var/lib/postgresql/data"
    users = [service for service in SERVICES.values() if "FLOWYARD_POSTGRES_IMAGE" in service["image"]]
    assert len(users) == 2
    for service in users:
        assert any(str(one).partition(data)[1] for one in (*service["volumes"], *service["tmpfs"]))


def test_an_upgrade_replaces_nothing_that_postgres_and_nats_wait_for() -> None:
    assert SERVICES["postgres"]["depends_on"].keys() == SERVICES["nats"]["depends_on"].keys() == {"secrets"}
    assert "$" not in SERVICES["secrets"]["image"]
    stage = DOCKERFILE.partition(" AS secrets\n")[2].partition("\nFROM ")[0]
    assert "VERSION" not in stage + DOCKERFILE.partition(" AS base\n")[2].partition("\nFROM ")[0]


def test_only_the_making_of_secrets_runs_as_root_and_it_has_no_network() -> None:
    # Our own images name their user in the Dockerfile.
    without = {name for name, service in SERVICES.items() if "user" not in service and "build" not in service}
    roots = {name for name, service in SERVICES.items() if str(service.get("user", "")).startswith(("0", "root"))}
    assert (without, roots) == (set(), {"secrets"})
    assert SERVICES["secrets"]["network_mode"] == "none"
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {"secrets"}


@pytest.mark.parametrize("target", [*OURS, "cli", "mlflow"])
def test_an_image_runs_as_the_user_whose_secrets_it_reads(target: str) -> None:
    uids = dict(re.findall(r'^    "(\w+)": (\d+),$', (ROOT / "deploy/secrets/make_secrets.py").read_text(), re.M))
    stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    assert f"USER {uids[target]}:{uids[target]}" in stage


def test_the_images_of_others_run_as_the_users_whose_secrets_they_read() -> None:
    uids = dict(re.findall(r'^    "(\w+)": (\d+),$', (ROOT / "deploy/secrets/make_secrets.py").read_text(), re.M))
    wanted = {name: f"{uids[name]}:{uids[name]}" for name in ("postgres", "nats", "prometheus", "grafana", "ollama")}
    assert {name: SERVICES[name]["user"] for name in wanted} == wanted
    assert SERVICES["roles"]["user"] == wanted["postgres"]


@pytest.mark.parametrize("service", SERVERS)
def test_a_server_is_started_again_and_says_whether_it_is_well(service: str) -> None:
    assert SERVICES[service]["restart"] == "unless-stopped"
    checked = DOCKERFILE.partition(f" AS {service}\n")[2].partition("\nFROM ")[0]
    assert "healthcheck" in SERVICES[service] or "HEALTHCHECK" in checked


def test_ports_are_published_on_this_machine_only_and_can_be_chosen() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.keys() == {"gateway", "dashboard", "prometheus", "grafana"}
    for name, published in ports.items():
        variable = f"FLOWYARD_{name.upper()}_PORT"
        assert [bool(re.fullmatch(rf"127\.0\.0\.1:\$\{{{variable}:-\d+\}}:\d+", port)) for port in published] == [True]


def test_postgres_and_nats_have_no_way_out_and_no_way_in() -> None:
    assert PROJECT["networks"]["data"] == {"internal": True}
    assert PROJECT["networks"]["core"] == {"internal": True}
    alone = {name for name, service in SERVICES.items() if set(service.get("networks", ())) <= {"data", "code"}}
    assert alone == {"postgres", "nats", "roles", "migrate", "secrets", "sandbox"}


def test_a_sandbox_reaches_nats_and_has_no_key_of_others_no_database_and_no_disk() -> None:
    sandbox = SERVICES["sandbox"]
    assert PROJECT["networks"]["code"] == {"internal": True}
    # Prometheus comes to it.
    assert {name for name, service in SERVICES.items() if "code" in service.get("networks", ())} == {
        "sandbox", "nats", "prometheus",
    }  # fmt: skip
    assert sandbox["networks"] == ["code"]
    assert "ports" not in sandbox
    assert sandbox["tmpfs"] == []
    assert sandbox["volumes"] == ["secrets:/run/flowyard:ro"]
    assert [name for name in environment("sandbox") if name.endswith("_FILE")] == ["FLOWYARD_NATS_URL_FILE"]


def test_only_who_calls_others_has_a_way_out() -> None:
    assert PROJECT["networks"]["edge"] == {}
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert PROJECT["networks"]["doors"] == {"driver_opts": {masquerade: "false"}}
    actual = {name for name, service in SERVICES.items() if "edge" in service.get("networks", ())}
    assert actual == {"executor", "registry", "ollama"}
    doors = {name for name, service in SERVICES.items() if "doors" in service.get("networks", ())}
    assert doors == {"gateway", "dashboard", "mlflow", "prometheus", "grafana"}


def test_mlflow_which_has_no_log_in_publishes_a_port_only_for_who_asks_for_it() -> None:
    assert "ports" not in SERVICES["mlflow"]
    assert knobs()["FLOWYARD_MLFLOW_PUBLIC_URL"] == ""
    published = yaml.safe_load((ROOT / "deploy/mlflow/published.yml").read_text())["services"]
    assert published["mlflow"] == {"ports": ["127.0.0.1:${FLOWYARD_MLFLOW_PORT:-5000}:5000"]}


def test_each_service_has_a_role_of_postgres() -> None:
    source = (ROOT / "deploy/postgres/roles.sql").read_text()
    for service in STORING:
        assert f"ALTER ROLE flowyard_{service} LOGIN PASSWORD :'{service}';" in source
    assert "ALTER ROLE flowyard NOLOGIN" in source


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_image_of_others_has_a_tag_that_says_its_version(service: str) -> None:
    if "build" not in SERVICES[service]:
        image = DEFAULT.sub(r"\2", SERVICES[service]["image"])
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?", image), image


def test_two_stacks_can_run_side_by_side() -> None:
    assert "name" not in PROJECT
    assert [name for name, service in SERVICES.items() if "container_name" in service] == []
    assert [volume for volume in PROJECT["volumes"].values() if volume] == []
    assert "ipam" not in COMPOSE


def test_an_executor_may_drain_before_it_is_killed() -> None:
    actual = knobs()
    seconds = int(actual["FLOWYARD_EXECUTOR_STOP_GRACE"].removesuffix("s"))
    assert seconds > float(actual["FLOWYARD_DRAIN_S"]) + float(actual["FLOWYARD_GRACE_S"]) + 5


@pytest.mark.parametrize("service", OURS)
def test_every_setting_of_a_service_can_be_set(service: str) -> None:
    known = {name.removesuffix("_FILE") for name in environment(service)}
    wanted = {f"FLOWYARD_{name.upper()}" for name in settings_of(service).model_fields.keys() - NOT_FOR_USERS}
    assert wanted - known == set()


def test_every_variable_of_opentelemetry_goes_to_who_sends_traces() -> None:
    wanted = {f"OTEL_{name.upper()}" for name in OtelSettings.model_fields}
    assert {name for name in environment("registry") if name.startswith("OTEL_")} == wanted


def test_keys_of_models_go_to_executors_only() -> None:
    keys = {variable for names in KEY_VARIABLES.values() for variable in names}
    assert {name: keys & environment(name).keys() for name in SERVICES if keys & environment(name).keys()} == {
        "executor": keys
    }
    files = {name: service["env_file"][0]["path"] for name, service in SERVICES.items() if "env_file" in service}
    assert files == {"executor": "deploy/models.env", "gateway": "deploy/hooks.env", "registry": "deploy/hooks.env"}


def test_passwords_come_from_files() -> None:
    secret = re.compile(r"(PASSWORD|SECRET_KEY|DATABASE_URL|NATS_URL|STORE_URI)$")
    given = {name for name in SERVICES for variable in environment(name) if secret.search(variable)}
    assert given == {"secrets"}


def test_what_the_docker_command_sets_for_itself_is_nobodys_setting() -> None:
    taken = [name for name in SERVICES if environment(name).get("OTEL_RESOURCE_ATTRIBUTES", "") is None]
    assert taken == []


def test_the_example_of_settings_names_every_knob_with_its_default() -> None:
    written = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    assert written == knobs()


def test_a_user_of_nats_may_use_the_subjects_of_its_service_and_no_other() -> None:
    wanted = {**PERMISSIONS, READER: READER_PERMISSIONS, SENDER: SENDER_PERMISSIONS}
    answering = (
        f'# To each request once, and to nobody else.\n\\s+allow_responses: {{max: 1, expires: "{ANSWER_WITHIN}"}}\\s+'
    )
    users = re.findall(
        r"user: (\w+)\s+password: \$(\w+)\s+permissions: \{\s+publish: \{\s+allow: \[([^\]]*)\]\s+\}"
        rf"\s+subscribe: \{{\s+allow: \[([^\]]*)\]\s+\}}\s+({answering})?\}}",
        (ROOT / "deploy/nats/nats.conf").read_text(),
    )
    actual = {
        name: (*(set(part.replace(chr(34), "").split()) for part in allowed), bool(answers))
        for name, _, *allowed, answers in users
    }
    assert actual == {name: (set(each.publish), set(each.subscribe), each.answers) for name, each in wanted.items()}
    assert {name: password for name, password, *_ in users} == {name: f"{name}_password" for name in wanted}


@pytest.mark.parametrize("target", [*OURS, "cli"])
def test_an_image_has_what_its_packages_declare_at_the_tested_versions(target: str) -> None:
    tested = pins("runtime")
    assert {name: pin for name, pin in pins(target).items() if tested.get(name) != pin} == {}
    declared = [name for name in wanted_by(target) if name not in pins(target)]
    assert declared == (["xllamacpp"] if target == "executor" else [])


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


def wanted_by(target: str) -> set[str]:
    """Direct dependencies: of the service, and of the parts of the library that it asks for."""
    library = tomllib.loads((ROOT / "libs/flowyard/pyproject.toml").read_text())["project"]
    lines = [Requirement(line) for line in library["dependencies"]]
    extras = re.findall(r"flowyard\[([^]]*)\]", (ROOT / f"requirements/{target}.in").read_text())[0].split(",")
    lines += [Requirement(line) for extra in extras for line in library["optional-dependencies"][extra]]
    if target in OURS:
        own = tomllib.loads((ROOT / f"services/{target}/pyproject.toml").read_text())["project"]["dependencies"]
        own_requirements = [Requirement(line) for line in own]
        assert {extra for each in own_requirements if each.name == "flowyard" for extra in each.extras} <= set(extras)
        lines += [each for each in own_requirements if each.name != "flowyard"]
    return {each.name for each in lines}
