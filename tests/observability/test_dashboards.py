"""The dashboards as files. What their queries find on a running system: test_panels."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml

from flowyard.telemetry.metrics import Metrics
from support.panels import FOLDER, dashboards, panels
from support.prometheus import DEPLOY

NAMES: Final = ("executors", "models_and_cost", "overview", "workflows")
SOURCE: Final = {"type": "prometheus", "uid": "flowyard-prometheus"}
FUNCTIONS: Final = {
    "histogram_quantile",
    "label_replace",
    "label_values",
    "max_over_time",
    "min_over_time",
    "sort_desc",
}
OF_PROMETHEUS: Final = {"scrape_duration_seconds", "net_conntrack_dialer_conn_established_total"}
PROVISIONING: Final = FOLDER.parent / "provisioning"


def panel_cases() -> list[Any]:
    all_panels = [(name, panel) for name, dashboard in dashboards().items() for panel in panels(dashboard)]
    return [pytest.param(panel, id=f"{name}-{panel['title']}") for name, panel in all_panels]


@pytest.mark.parametrize("panel", panel_cases())
def test_a_panel_says_what_it_shows_in_which_unit_and_where_from(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith("."), "a sentence"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["expr"]
        assert target["datasource"] == SOURCE
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_there_are_the_four_dashboards_and_their_names_are_their_own() -> None:
    assert tuple(dashboards()) == NAMES
    assert {dashboard["uid"] for dashboard in dashboards().values()} == {
        f"flowyard-{name.replace('_', '-')}" for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_panel_lies_on_another(name: str) -> None:
    dashboard = dashboards()[name]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used_and_every_one_that_is_used_is_there(name: str) -> None:
    dashboard = dashboards()[name]
    there = {variable["name"] for variable in dashboard["templating"]["list"]}
    queries = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    used = {name for expr in queries for name in re.findall(r"\$(\w+)", expr) if not name.startswith("__")}
    assert used == there
    for variable in dashboard["templating"]["list"]:
        assert variable["allValue"] == ".*", "All includes what comes while somebody looks"


def test_every_metric_in_a_query_is_one_of_ours() -> None:
    page, _ = Metrics(service="tests", version="0").render()
    ours = set(re.findall(r"^# TYPE (\S+)", page.decode(), re.MULTILINE))
    there = ours | {f"{name}_{part}" for name in ours for part in ("bucket", "sum", "count")} | _recorded()
    exprs = [rule["expr"] for rule in _rules()]
    for dashboard in dashboards().values():
        exprs += [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
        exprs += [variable["query"]["query"] for variable in dashboard["templating"]["list"]]
    missing = {name for expr in exprs for name in _metrics(expr)} - there - OF_PROMETHEUS
    assert missing == set()


def test_what_executors_measure_for_all_is_never_added_up() -> None:
    of_the_system = r"flowyard_(?:queue_depth|queue_oldest_age_seconds|runs_orphaned|executor_silent)"
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                for before in re.findall(rf"(.*?){of_the_system}", target["expr"]):
                    assert re.search(r"max( by \(status\) )?\($", before), target["expr"]


def test_grafana_finds_the_source_that_the_panels_name_and_the_dashboards_where_they_are() -> None:
    (source,) = _provisioned("datasources/prometheus.yml")["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    assert source["url"] == "http://prometheus:9090"
    (provider,) = _provisioned("dashboards/flowyard.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def _provisioned(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((PROVISIONING / name).read_text())
    assert read["apiVersion"] == 1
    return read


def _rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def _recorded() -> set[str]:
    return {rule["record"] for rule in _rules() if "record" in rule}


def _metrics(expr: str) -> set[str]:
    """The names in an expression. Of all that it may hold, only metrics and functions have `_` or `:` in them."""
    clauses = r"\b(?:on|by|group_left) \([^)]*\)"
    bare = re.sub(rf'{{[^}}]*}}|\[[^]]*\]|\$\w+|"[^"]*"|{clauses}', " ", expr)
    return {name for name in re.findall(r"[\w:]*[_:][\w:]*", bare) if name not in FUNCTIONS}


def test_no_panel_adds_a_zero_without_labels_to_series_with_labels() -> None:
    exprs = [target["expr"] for dash in dashboards().values() for panel in panels(dash) for target in panel["targets"]]
    zeros = [expr for expr in exprs if "vector(0)" in expr and re.search(r"\bby \(", expr)]
    assert len(zeros) >= 12
    assert [expr for expr in zeros if not expr.endswith(" or on () vector(0)")] == []


def test_executors_are_shown_by_their_names_and_never_by_their_addresses() -> None:
    text = (FOLDER / "executors.json").read_text()
    assert "{{instance}}" not in text
    assert "$instance" not in text
    assert text.count("{{name}}") >= 10
