"""
A Docker engine for tests: a running one if there is one, else a private one if it can be started. Base images are
pulled. If no registry can be reached, debootstrap creates them under the names that the Dockerfile uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support import ROOT, wait_until

from .tools import run, tool

START = "TEMPFLEET_TEST_CONTAINERS"
"""Set by `make test-containers`: a test suite does not start a daemon unasked."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tempfleet-tests"
BASE_PACKAGES = "python3-venv,tini,ca-certificates"


@dataclass(frozen=True)
class Engine:
    """A Docker engine, and its two command lines."""

    docker: str
    compose_words: tuple[str, ...]
    address: str = ""

    @property
    def env(self) -> dict[str, str]:
        host = {"DOCKER_HOST": self.address} if self.address else {}
        return {**os.environ, **host, "DOCKER_BUILDKIT": "0", "COMPOSE_PROJECT_NAME": "tempfleet-test"}

    def __call__(self, *words: str, check: bool = True, timeout: float = 900) -> str:
        return run(self.docker, *words, env=self.env, check=check, timeout=timeout)

    def compose(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        return run(*self.compose_words, *words, cwd=ROOT, env=self.env, check=check, timeout=timeout)


@contextmanager
def engine() -> Iterator[Engine]:
    docker = tool("docker", package="docker.io")
    compose = _compose(docker)
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
        yield Engine(docker, compose)
        return
    if not os.environ.get(START):
        pytest.skip("no Docker engine answers; `make test-containers`, as root, starts one of its own")
    with _private(tool("dockerd", package="docker.io")) as address:
        yield Engine(docker, compose, address)


def _compose(docker: str) -> tuple[str, ...]:
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return (docker, "compose")
    return (tool("docker-compose", package="docker-compose"),)


@contextmanager
def _private(dockerd: str) -> Iterator[str]:
    """Start a private engine on its own socket. Its images stay in the cache for the next run."""
    if os.geteuid() != 0:
        pytest.skip("no Docker engine answers, and only root can start one")
    CACHE.mkdir(parents=True, exist_ok=True)
    socket, log = CACHE / "docker.sock", CACHE / "dockerd.log"
    command = [dockerd, f"--data-root={CACHE}/docker", f"--exec-root={CACHE}/exec", f"--pidfile={CACHE}/pid"]
    with log.open("wb") as output:
        daemon = subprocess.Popen([*command, f"--host=unix://{socket}"], stdout=output, stderr=output)
    try:
        wait_until(lambda: daemon.poll() is not None or _answers(socket), timeout=60)
        if daemon.poll() is not None:
            pytest.skip(f"no Docker engine starts on this machine: {log.read_text()[-500:]}")
        yield f"unix://{socket}"
    finally:
        daemon.terminate()
        daemon.wait(60)


def _answers(socket: Path) -> bool:
    command = ["docker", "--host", f"unix://{socket}", "info"]
    return socket.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def provide_images(docker: Engine) -> set[str]:
    """
    Provide the images that the Dockerfile and docker-compose.yml name. Services whose image is not available are left
    out.
    """
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    base = _base_image()
    if not (_has(docker, base) or _pull(docker, base)):
        _make_base(docker, base)
    left_out = set()
    for name, service in services.items():
        image = service["image"]
        if "build" in service or _has(docker, image) or _pull(docker, image):
            continue
        if not _make_from_debian(docker, base, name, image):
            left_out.add(name)
    return set(services) - left_out


def _base_image() -> str:
    match = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert match is not None
    return f"python:{match[1]}"


def _has(docker: Engine, image: str) -> bool:
    return docker("images", "--quiet", image).strip() != ""


def _pull(docker: Engine, image: str) -> bool:
    command = [docker.docker, "pull", "--quiet", image]
    return (
        subprocess.run(command, env=docker.env, capture_output=True, timeout=600, check=False).returncode == 0
    )


def _make_base(docker: Engine, image: str) -> None:
    """Build Debian's Python under the official image's name, with this machine's certificates and pip settings."""
    debootstrap = tool("debootstrap", package="debootstrap")
    root = CACHE / "base"
    if not (root / "usr/bin/tini").exists():
        shutil.rmtree(root, ignore_errors=True)
        run(
            debootstrap, "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(root), timeout=900
        )
    for file in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
        if os.path.exists(file):
            shutil.copy(file, f"{root}{file}")
    archive = CACHE / "base.tar"
    run("tar", "--one-file-system", "--directory", str(root), "--create", "--file", str(archive), ".")
    docker("import", str(archive), image)
    archive.unlink()


def _make_from_debian(docker: Engine, base: str, service: str, image: str) -> bool:
    """Build Debian's server under the official image's name, with everything that docker-compose.yml needs."""
    debian = {
        "redis": ("redis-server", "RUN mkdir /data && chown redis /data\nWORKDIR /data\nUSER redis\n"),
        "prometheus": (
            "prometheus",
            'RUN mkdir /prometheus && chown 65534 /prometheus\nUSER 65534\nENTRYPOINT ["prometheus"]\n',
        ),
    }
    if service not in debian:
        return False
    package, more = debian[service]
    folder = CACHE / f"image-{service}"
    folder.mkdir(exist_ok=True)
    install = f"RUN apt-get update && apt-get install --yes --no-install-recommends {package}\n"
    (folder / "Dockerfile").write_text(f"FROM {base}\n{install}{more}")
    docker("build", "--network=host", "--tag", image, str(folder))
    return True
