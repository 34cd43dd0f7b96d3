"""
Rules, alerts and the dashboard work in a real Prometheus: promtool's unit tests, and queries over data scraped from a
real worker.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery

from stack import Stack, fetch, fetch_json, running_stack
from support import wait_until
from tempfleet import TempFileManager

from .tools import DEPLOY, run, tool

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/tempfleet.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_rules_pass_their_unit_tests(tmp_path: Path) -> None:
    promtool = tool("promtool", package="prometheus")
    for file in (
        PROMETHEUS / "recording.yml",
        PROMETHEUS / "alerts.yml",
        Path(__file__).with_name("rules_test.yml"),
    ):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in run(promtool, "test", "rules", "rules_test.yml", cwd=tmp_path)
    assert "SUCCESS" in run(promtool, "check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_has_a_paragraph_and_a_test_that_makes_it_fire() -> None:
    alerts = {rule["alert"] for rule in rules("alerts.yml")}
    runbook = (PROMETHEUS / "RUNBOOK.md").read_text()
    assert set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE)) == alerts
    tests = yaml.safe_load(Path(__file__).with_name("rules_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case.get("exp_alerts")
    }
    assert fired == alerts
    for rule in rules("alerts.yml"):
        anchor = rule["annotations"]["runbook"].partition("#")[2]
        assert anchor == rule["alert"].lower()


def test_every_total_is_the_greatest_over_workers_before_it_is_added_up() -> None:
    expressions = [query.values[0] for query in QUERIES] + [rule["expr"] for rule in rules("recording.yml")]
    for expression in expressions:
        for part in re.findall(r"sum(?: by \([^)]*\))? \((\w+)", expression):
            assert part in ("max", "sum") or part.startswith("host_volume"), expression


MOVING = (
    "temp_file_age_seconds_bucket",
    "temp_file_sweep_duration_seconds_count",
    "temp_file_failures_total",
    "temp_file_rejected_messages_total",
)
"""Counters that stand still in a fleet that is idle or well."""


@dataclass(frozen=True)
class Scraped:
    """Run a Prometheus that has scraped a busy worker."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = fetch_json(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert answer["status"] == "success", answer
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Run beat and a worker with many kinds of outcomes, scraped twice a second."""
    home = tmp_path_factory.mktemp("scraped")
    with running_stack(home, maxmemory="200mb") as stack:
        yield _scrape(stack)


def _scrape(stack: Stack) -> Scraped:
    binary = tool("prometheus", package="prometheus")
    worker = stack.worker("web-1", TEMP_FILE_CLEANUP_INTERVAL="1")
    stack.celery("beat", env=worker.env, name="beat")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [worker.url.removeprefix("http://")]}]
    (stack.home / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    stack.run(
        binary, f"--config.file={stack.home}/prometheus.yml", f"--storage.tsdb.path={stack.home}/data",
        f"--web.listen-address={address}", name="prometheus",
    )  # fmt: skip
    prometheus = Scraped(f"http://{address}")
    wait_until(lambda: _answers(prometheus), timeout=30)
    with worker.manager() as manager, Celery(broker=worker.env["TEMP_FILE_BROKER_URL"]) as app:
        wait_until(lambda: _busy(manager, app, prometheus), timeout=60)
        manager._registrar.in_block = None  # the worker deletes the expired files
    return prometheus


def _busy(manager: TempFileManager, app: Celery, prometheus: Scraped) -> bool:
    """Produce deletions, refusals on disk and refused messages until every rate shows them."""
    base = Path(manager.base_dir)
    place = base / os.urandom(8).hex()
    place.mkdir()
    for name in ("a", "b", "c"):
        (place / name).write_bytes(bytes(1000))
        (base / f"{place.name}-{name}").write_bytes(bytes(1000))
    manager.register_many([*place.iterdir(), *base.glob(f"{place.name}-*")], ttl=0.2)
    moved = place.rename(base / f"{place.name}.moved")
    place.symlink_to(moved)
    app.send_task(
        "tempfleet.register",
        args=["/etc/hostname"],
        kwargs={"host": "web-1"},
        queue="tempfleet",
        ignore_result=True,
    )
    return all(prometheus.query(f"rate({counter}[20s]) > 0") for counter in MOVING)


def _answers(prometheus: Scraped) -> bool:
    try:
        return fetch(f"{prometheus.url}/-/ready")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_shows_something_of_a_real_worker(scraped: Scraped, query: str) -> None:
    expression = query.replace("$__rate_interval", "30s").replace("$host", ".*")
    results = scraped.query(expression)
    assert results, expression
    assert any(not math.isnan(float(result["value"][1])) for result in results), results


@pytest.mark.parametrize("rule", [rule["record"] for rule in rules("recording.yml")])
def test_every_recording_rule_records_something_of_a_real_worker(scraped: Scraped, rule: str) -> None:
    assert wait_until(lambda: scraped.query(rule), timeout=30)


def test_alerts_are_loaded_and_a_fleet_that_was_just_started_stays_calm(
    scraped: Scraped,
) -> None:
    groups = fetch_json(f"{scraped.url}/api/v1/rules?type=alert")["data"]["groups"]
    states = {rule["name"]: (rule["state"], rule["health"]) for group in groups for rule in group["rules"]}
    assert states.keys() == {rule["alert"] for rule in rules("alerts.yml")}
    assert {health for _, health in states.values()} <= {"ok", "unknown"}
    firing = {name for name, (state, _) in states.items() if state == "firing"}
    assert firing <= {"TempfleetMessagesRejected"}


def test_the_specifications_own_queries_have_an_answer(scraped: Scraped) -> None:
    for query in (
        "temp_files_active",
        "rate(temp_files_cleaned_total[5m])",
        "histogram_quantile(0.95, rate(temp_file_age_seconds_bucket[5m]))",
        "histogram_quantile(0.95, rate(temp_file_cleanup_duration_seconds_bucket[5m]))",
    ):
        assert scraped.query(query), query
