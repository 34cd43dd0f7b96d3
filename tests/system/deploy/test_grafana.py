"""The dashboard and its provisioning match Grafana's own model of a dashboard and docker-compose.yml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from support import ROOT

from .tools import DEPLOY

GRAFANA = DEPLOY / "grafana"


def unknown(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Returns the places where the file differs from Grafana's model of it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from unknown(value, theirs[key], f"{at}/{key}")
            else:
                yield f"{at}/{key}: there is no such field"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for n, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from unknown(our, their, f"{at}/{n}")
    elif ours != theirs:
        yield f"{at}: {ours!r} became {theirs!r}"


def reread(dashboard: dict[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


@pytest.fixture
def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GRAFANA / "dashboards/tempfleet.json").read_text())
    return read


def test_grafanas_own_model_knows_every_field_of_the_dashboard(dashboard: dict[str, Any]) -> None:
    assert list(unknown(dashboard, reread(dashboard))) == []


def test_a_field_that_grafana_does_not_know_would_be_noticed(dashboard: dict[str, Any]) -> None:
    dashboard["panels"][1]["tagret"] = "a typing error"
    assert list(unknown(dashboard, reread(dashboard))) == ["/panels/1/tagret: there is no such field"]


def test_grafana_finds_the_dashboard_and_the_source_that_it_is_provisioned_with(
    dashboard: dict[str, Any],
) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = dict(mount.split(":")[:2] for mount in compose["grafana"]["volumes"])
    (provider,) = yaml.safe_load(next(GRAFANA.glob("provisioning/dashboards/*.yml")).read_text())["providers"]
    (source,) = yaml.safe_load(next(GRAFANA.glob("provisioning/datasources/*.yml")).read_text())[
        "datasources"
    ]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert source["url"].partition("//")[2].partition(":")[0] in compose
    sources = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel}
    assert sources <= {"${datasource}", source["uid"]}
