"""The configuration of Prometheus: where the services are, what to record, and when to alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from flowyard.settings import ProcessSettings
from flowyard_dashboard.settings import DashboardSettings
from flowyard_executor.settings import ExecutorSettings
from flowyard_gateway.settings import GatewaySettings
from flowyard_registry.settings import RegistrySettings
from flowyard_sandbox.settings import SandboxSettings
from support.documents import ROOT, table
from support.prometheus import DEPLOY, KEY_FILE, config, promtool

TESTS: Final = sorted(path.name for path in (DEPLOY / "tests").glob("*.yml"))
DOCS: Final = ROOT / "docs" / "observability.md"
SERVICES: Final[dict[str, type[ProcessSettings]]] = {
    "registry": RegistrySettings,
    "executor": ExecutorSettings,
    "gateway": GatewaySettings,
    "dashboard": DashboardSettings,
    "sandbox": SandboxSettings,
}


def test_every_replica_of_every_service_is_scraped_with_a_key() -> None:
    jobs = {job["job_name"]: job for job in config()["scrape_configs"]}
    assert jobs.keys() == {*SERVICES, "prometheus"}
    for service, settings in SERVICES.items():
        (discovery,) = jobs[service]["dns_sd_configs"]
        port = settings.model_fields["port"].default
        assert (discovery["names"], discovery["type"], discovery["port"]) == ([service], "A", port)
        # A sandbox has no database that knows keys.
        wanted = None if service == "sandbox" else {"credentials_file": KEY_FILE}
        assert jobs[service].get("authorization") == wanted


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "prometheus.yml").read_text()
    # It looks for the key, which is there in the container only.
    (tmp_path / "prometheus.yml").write_text(text.replace(KEY_FILE, "key"))
    (tmp_path / "key").write_text("fy_a_b")
    (tmp_path / "rules").mkdir()
    for rules in (DEPLOY / "rules").glob("*.yml"):
        (tmp_path / "rules" / rules.name).write_text(rules.read_text())
    _open_to_all(tmp_path)
    printed = promtool(tmp_path, "check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
    assert "2 rule files found" in printed


@pytest.mark.parametrize("name", TESTS)
def test_rules_ring_when_they_should_and_only_then(name: str) -> None:
    assert "SUCCESS" in promtool(DEPLOY, "test", "rules", f"tests/{name}")


def test_every_rule_has_a_test_with_a_result_and_every_alert_one_in_which_it_is_silent() -> None:
    fires = {_about(check) for check in _checks() if check["exp_samples"]}
    silent = {_about(check) for check in _checks() if not check["exp_samples"]}
    alerts = {rule["alert"] for rule in _rules() if "alert" in rule}
    assert fires >= alerts | {rule["record"] for rule in _rules() if "record" in rule}
    assert silent >= alerts


def test_every_alert_says_how_bad_it_is_and_has_a_text() -> None:
    for rule in (rule for rule in _rules() if "alert" in rule):
        assert re.fullmatch(r"Flowyard[A-Za-z]+", rule["alert"])
        assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"}), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]


def test_the_alerts_that_are_listed_are_all_that_there_are() -> None:
    listed = [(alert, severity) for alert, severity, _ in table(DOCS, "alert", "severity", "condition")]
    there = [(rule["alert"], rule["labels"]["severity"]) for rule in _rules() if "alert" in rule]
    assert sorted(listed) == sorted(there)


def test_no_text_of_an_alert_names_a_label_that_it_lacks() -> None:
    labels: dict[str, list[set[str]]] = {}
    for check in _checks():
        for sample in check["exp_samples"]:
            labels.setdefault(_about(check), []).append(set(re.findall(r"(\w+)=", sample["labels"])))
    for rule in (rule for rule in _rules() if "alert" in rule):
        texts = str(rule["annotations"])
        named = set(re.findall(r"\$labels\.(\w+)", texts)) - set(re.findall(r"with \$labels\.(\w+)", texts))
        assert all(named <= there for there in labels[rule["alert"]]), rule["alert"]


def test_what_executors_measure_for_all_is_never_added_up() -> None:
    of_the_system = r"flowyard_(queue_depth|queue_oldest_age_seconds|runs_orphaned|executor_silent)\b"
    for rule in _rules():
        for aggregate in re.finditer(rf"(\w+)( by \(.*?\) )?\({of_the_system}{{job=\"executor\"}}", rule["expr"]):
            assert aggregate[1] in {"max", "max_over_time"}, rule
        assert not re.search(rf"{of_the_system}(?!:max|{{job=\"executor\")", rule["expr"]), rule


def _rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def _checks() -> list[dict[str, Any]]:
    files = [yaml.safe_load((DEPLOY / "tests" / name).read_text()) for name in TESTS]
    return [check for file in files for test in file["tests"] for check in test["promql_expr_test"]]


def _about(check: dict[str, Any]) -> str:
    """The alert that an expression looks at, or else the recorded metric."""
    selector = re.match(r'ALERTS{alertname="(\w+)"|([\w:]+)', check["expr"])
    assert selector is not None, check
    return selector[1] or selector[2]


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
