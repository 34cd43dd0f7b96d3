"""The image and docker-compose.yml, on a real Docker engine."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import Stack, fetch, fetch_json
from support import ROOT, wait_until
from tempfleet import TempFileManager

from .engine import Engine, engine, provide_images
from .tools import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SHOW = ("worker-1", "python3", "/usr/local/share/tempfleet/show.py")
HOW_TO = ROOT / "docs/how-to/containers.md"
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_every_published_port_is_on_loopback() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_redis_keeps_and_never_evicts_and_is_reached_from_inside_alone() -> None:
    redis = SERVICES["redis"]
    assert {"--appendonly yes", "--maxmemory-policy noeviction"} <= set(redis["command"])
    assert "ports" not in redis
    assert redis["networks"] == ["fleet"] and COMPOSE["networks"]["fleet"]["internal"] is True


def test_no_password_is_in_the_file_and_no_image_is_unpinned() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"password\s*[:=]\s*\S", text, re.IGNORECASE)
    for service in SERVICES.values():
        assert re.search(r":(v?\d+\.\d+\.\d+\S*|local)$", service["image"]), service["image"]


def test_the_documents_say_the_commands_that_are_run_here() -> None:
    (commands,) = re.findall(r"^```sh docker\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    assert commands.splitlines() == [
        "docker compose up --build --detach",
        f"docker compose exec {' '.join(SHOW)}",
    ]


def test_two_hosts_have_a_disk_each_and_two_beats_sweep() -> None:
    workers = [service for name, service in SERVICES.items() if name.startswith("worker")]
    assert len({service["environment"]["TEMP_FILE_HOST"] for service in workers}) == 2
    assert len({str(service["volumes"]) for service in workers}) == 2
    assert [
        name for name, service in SERVICES.items() if service.get("command") == ["tempfleet", "beat"]
    ] == [
        "beat-1",
        "beat-2",
    ]


def test_the_show_sends_no_message_before_its_hosts_worker_was_seen(stack: Stack) -> None:
    stack.worker("worker-2", web=False)
    show = stack.run(sys.executable, str(DEPLOY / "docker/show.py"), env=stack.env("worker-1"), name="show")
    with TempFileManager(
        stack.home / "worker-1", host="worker-1", redis_url=stack.server.unix_url
    ) as manager:
        wait_until(lambda: manager.stats().total("registered") == 40)
        stack.worker("worker-1", web=False)
        wait_until(lambda: "the registry counts them as deleted" in show.output, timeout=120)
    assert "FAIL" not in show.output


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with engine() as docker_engine:
        yield docker_engine


@pytest.fixture(scope="module")
def image(docker: Engine) -> set[str]:
    """Build the image, and return the services that can run here."""
    services = provide_images(docker)
    docker("build", "--network=host", "--tag", "tempfleet:local", str(ROOT))
    return services


@pytest.fixture(scope="module")
def up(docker: Engine, image: set[str]) -> Iterator[Engine]:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            if _is_taken(int(port.split(":")[1])):
                pytest.skip(f"port {port} is taken on this machine")
    try:
        docker.compose("up", "--detach", "--no-build", *sorted(image))
        yield docker
    finally:
        docker.compose("down", "--volumes", "--timeout", "15", check=False)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(1800)
def test_the_image_is_nobodys_root_and_has_an_init_and_a_health_check(
    docker: Engine, image: set[str]
) -> None:
    config = json.loads(docker("inspect", "tempfleet:local"))[0]["Config"]
    assert config["User"] == "tempfleet"
    assert config["Entrypoint"] == ["tini", "--"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    output = docker(
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "tempfleet:local",
        "sh",
        "-c",
        "id -u; tempfleet version",
    )
    assert output.startswith("10001\n") and "tempfleet" in output


@pytest.mark.timeout(900)
def test_one_command_shows_files_registered_deleted_and_seen_everywhere(up: Engine) -> None:
    output = up.compose("exec", "-T", *SHOW)
    assert "FAIL" not in output
    assert output.count("ok  ") == 8


@pytest.mark.timeout(900)
def test_workers_become_healthy_and_a_killed_one_returns(up: Engine) -> None:
    wait_until(lambda: _health(up, "worker-1") == _health(up, "worker-2") == "healthy", timeout=90)
    up.compose("kill", "--signal", "SIGKILL", "worker-2")
    up.compose("up", "--detach", "--no-build", "--no-deps", "worker-2")
    wait_until(lambda: _health(up, "worker-2") == "healthy", timeout=90)


@pytest.mark.timeout(900)
def test_what_is_published_answers_on_loopback(up: Engine) -> None:
    assert "worker-2" in fetch("http://127.0.0.1:9091/")[1]
    assert fetch("http://127.0.0.1:5555/healthcheck")[0] == 200
    targets = wait_until(_healthy_targets, timeout=60)
    assert targets == {"worker-1:9090", "worker-2:9090"}


def _healthy_targets() -> set[str]:
    targets = fetch_json("http://127.0.0.1:9090/api/v1/targets")["data"]["activeTargets"]
    healthy = {target["labels"]["instance"] for target in targets if target["health"] == "up"}
    return healthy if len(healthy) == 2 else set()


def _health(docker: Engine, service: str) -> str:
    container = docker.compose("ps", "--quiet", service).split()[-1:]
    if not container:
        return "none"
    return str(json.loads(docker("inspect", container[0]))[0]["State"].get("Health", {}).get("Status"))


def test_the_folder_that_is_sent_to_the_engine_is_small() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert {"manager", "tasks", "pyproject.toml"} <= set(kept)
    assert all((ROOT / Path(name)).exists() for name in kept)
