"""The manifests match Kubernetes' own JSON schemas and keep their promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT
from tempfleet.settings.settings import variables

from .tools import DEPLOY, run, tool

KUBERNETES = DEPLOY / "kubernetes"
HOW_TO = ROOT / "docs/how-to/kubernetes.md"
VARIANTS = sorted(path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml"))

Object = dict[str, Any]


def files_of(variant: str) -> list[Path]:
    folder = KUBERNETES / variant
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = [(folder / name).resolve() for name in kustomization["resources"]]
    return [file for file in files if file.is_file()]


def objects() -> list[Object]:
    files = sorted({file for variant in VARIANTS for file in files_of(variant)})
    return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]


def name_of(manifest: Object) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pods() -> list[Any]:
    return [
        pytest.param(manifest["spec"]["template"]["spec"], id=name_of(manifest))
        for manifest in objects()
        if "template" in manifest.get("spec", {})
    ]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def validate(manifest: Object) -> None:
    """Validate against the newest schemas in the package. Unknown fields are errors."""
    package = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate has the schemas: pip install it"
    )
    package.validate(manifest, package.latest_version(), strict=True)


KEDA_MODELS = "@kubernetes-models/keda"
KEDA_CHECK = f"""
const {{ScaledObject}} = require("{KEDA_MODELS}/keda.sh/v1alpha1");
new ScaledObject(JSON.parse(require("fs").readFileSync(0, "utf8"))).validate();
"""


def is_kedas(manifest: Object) -> bool:
    return bool(manifest["apiVersion"].startswith("keda.sh/"))


@pytest.mark.parametrize(
    "manifest", [manifest for manifest in objects() if not is_kedas(manifest)], ids=name_of
)
def test_every_object_fits_its_schema(manifest: Object) -> None:
    validate(manifest)


def test_what_scales_fits_kedas_own_schema(tmp_path: Path) -> None:
    """KEDA's definition is available as a validating program in an npm package."""
    npm, node = tool("npm", package="npm"), tool("node", package="nodejs")
    fetch = [
        npm,
        "install",
        "--prefix",
        tmp_path,
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        f"{KEDA_MODELS}@0.4.2",
    ]
    if (fetched := subprocess.run(fetch, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"KEDA's schema cannot be had here: {fetched.stderr.strip()[-200:]}")

    def errors_of(manifest: Object) -> str:
        check = [node, "-e", KEDA_CHECK]
        return subprocess.run(
            check, cwd=tmp_path, input=json.dumps(manifest), capture_output=True, text=True, check=False
        ).stderr

    (scaled,) = filter(is_kedas, objects())
    assert errors_of(scaled) == ""
    scaled["spec"]["maxReplicaCount"] = "many"
    assert "maxReplicaCount must be integer" in errors_of(scaled)


def test_the_schemas_are_strict_enough_to_notice_a_wrong_field() -> None:
    daemon_set = next(manifest for manifest in objects() if manifest["kind"] == "DaemonSet")
    daemon_set["spec"]["replicas"] = 1
    with pytest.raises(Exception, match="replicas"):
        validate(daemon_set)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_kustomization_names_what_is_there_and_builds(variant: str) -> None:
    folder = KUBERNETES / variant
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert all((folder / name).exists() for name in resources)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on the PATH: the files were found, and not put together")
    built = list(yaml.safe_load_all(run(kubectl, "kustomize", str(folder))))
    assert {manifest["metadata"].get("namespace", manifest["metadata"]["name"]) for manifest in built} == {
        "tempfleet"
    }


def test_the_documents_commands_build_every_form() -> None:
    tool("kubectl", package="kubectl, from Kubernetes' own repository")
    (commands,) = re.findall(r"^```sh kubernetes\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    built = run("bash", "-euc", commands, cwd=ROOT)
    assert sorted(re.findall(r"^kind: (DaemonSet|Deployment)$", built, re.MULTILINE)) == [
        "DaemonSet",
        *4 * ["Deployment"],
    ]


@pytest.mark.parametrize("pod", pods())
def test_no_container_has_rights_that_it_does_not_need(pod: Object) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 10001
    for container in containers(pod):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context.get("runAsUser") in (None, 0 if container["name"] == "own-directory" else None)


@pytest.mark.parametrize("pod", pods())
def test_every_container_says_what_it_needs_and_where_its_secret_is(pod: Object) -> None:
    for container in containers(pod):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        for variable in container.get("env", ()):
            assert variable["name"] in set(variables().values())
            assert "secretKeyRef" not in variable.get("valueFrom", {})


@pytest.mark.parametrize("pod", [pod for pod in pods() if pod.id != "Deployment tempfleet-beat"])
def test_every_worker_is_probed_where_it_answers(pod: Object) -> None:
    workers = [container for container in containers(pod) if container.get("args") == ["tempfleet", "worker"]]
    assert workers
    for worker in workers:
        probes = {name: probe["httpGet"]["path"] for name, probe in worker.items() if name.endswith("Probe")}
        assert probes["livenessProbe"] == "/healthz"
        assert "/readyz" in probes.values()
        assert [port["containerPort"] for port in worker["ports"] if port["name"] == "metrics"] == [9090]


def test_prometheus_finds_every_worker_through_a_headless_service() -> None:
    headless = [
        manifest["spec"]
        for manifest in objects()
        if manifest["kind"] == "Service" and manifest["spec"].get("clusterIP") == "None"
    ]
    for manifest in objects():
        if (
            manifest["kind"] not in ("DaemonSet", "Deployment")
            or manifest["metadata"]["name"] == "tempfleet-beat"
        ):
            continue
        labels = manifest["spec"]["template"]["metadata"]["labels"].items()
        ports = [
            port["targetPort"]
            for service in headless
            if service["selector"].items() <= labels
            for port in service["ports"]
        ]
        assert ports == ["metrics"], name_of(manifest)


def test_settings_in_the_config_map_are_settings() -> None:
    config = next(manifest for manifest in objects() if manifest["kind"] == "ConfigMap")
    assert set(config["data"]) <= set(variables().values())


def test_only_prometheus_comes_in_and_only_redis_is_gone_to() -> None:
    policy = next(manifest for manifest in objects() if manifest["kind"] == "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [9090]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {6379, 53}


def test_the_adapters_rule_is_made_of_a_series_that_is_recorded() -> None:
    rule = (KUBERNETES / "shared-disk-hpa" / "hpa.yaml").read_text()
    recorded = (DEPLOY / "prometheus" / "recording.yml").read_text()
    series = set(re.findall(r"host:\w+:\w+", rule))
    assert len(series) == 1
    assert f"- record: {series.pop()}\n" in recorded


def test_keda_scales_what_is_there_on_metrics_that_are_there() -> None:
    scaled = next(manifest for manifest in objects() if manifest["kind"] == "ScaledObject")["spec"]
    deployments = {manifest["metadata"]["name"] for manifest in objects() if manifest["kind"] == "Deployment"}
    assert scaled["scaleTargetRef"]["name"] in deployments
    (trigger,) = scaled["triggers"]
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert "temp_files_due" in trigger["metadata"]["query"]
