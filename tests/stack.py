"""
Real workers as processes, on a private broker and registry. Tests read their pages over HTTP.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import wait_until
from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer


@dataclass
class Process:
    """A command in its own process group. Its output goes to *log*."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the whole group, including children of a pool."""
        try:
            os.killpg(self.popen.pid, how)
        except ProcessLookupError:
            pass
        self.popen.wait(30)


@dataclass
class Worker:
    """A running worker, and the address of its pages."""

    process: Process
    env: dict[str, str]
    base_dir: Path
    url: str = ""

    def get(self, path: str) -> str:
        return fetch(self.url + path)[1]

    def samples(self) -> dict[str, float]:
        """Returns sample name -> value, without labels, summed over volumes."""
        totals: dict[str, float] = {}
        for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", self.get("/metrics"), re.MULTILINE):
            totals[name] = totals.get(name, 0) + float(value)
        return totals

    def manager(self) -> TempFileManager:
        """Returns a manager of the worker's volume."""
        return TempFileManager(
            settings=Settings.load(
                base_dir=str(self.base_dir),
                host=self.env["TEMP_FILE_HOST"],
                redis_url=self.env["TEMP_FILE_REDIS_URL"],
            )
        )


def fetch(url: str, **headers: str) -> tuple[int, str]:
    """Returns status and body, also of an error."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def fetch_json(url: str, **headers: str) -> Any:
    return json.loads(fetch(url, **headers)[1])


@dataclass
class Stack:
    """One broker and registry, and the processes that a test starts with it."""

    server: EmbeddedServer
    home: Path
    processes: list[Process] = field(default_factory=list)

    def env(self, host: str = "web-1", **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMP_FILE_")}
        return {
            **inherited,
            "TEMP_FILE_HOST": host,
            "TEMP_FILE_BASE_DIR": str(self.home / host),
            "TEMP_FILE_REDIS_URL": self.server.unix_url,
            "TEMP_FILE_BROKER_URL": f"redis+socket://{self.server.socket_path}",
            "TEMP_FILE_HEARTBEAT": "1",
            "TEMP_FILE_TIMER_INTERVAL": "0.2",
            "PROMETHEUS_PORT": "0",
            **more,
        }

    def run(self, *command: str, env: dict[str, str] | None = None, name: str = "process") -> Process:
        log = self.home / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                env=env or self.env(),
                stdout=output,
                stderr=output,
                cwd=self.home,
                start_new_session=True,
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def celery(self, *args: str, env: dict[str, str] | None = None, name: str = "celery") -> Process:
        return self.run(sys.executable, "-m", "celery", "-A", "tempfleet_tasks", *args, env=env, name=name)

    def worker(self, host: str = "web-1", *args: str, web: bool = True, **env: str) -> Worker:
        """Start a worker and wait until it is ready: until it serves its pages, if it does."""
        settings = self.env(host, **env)
        process = self.celery(
            "worker", "--loglevel=INFO", "-n", f"celery@{host}", *args, env=settings, name=host
        )
        worker = Worker(process, settings, Path(settings["TEMP_FILE_BASE_DIR"]))
        wait_until(lambda: self.first_match(process, r"(celery@\S+ ready)"), timeout=60)
        if web:
            worker.url = wait_until(
                lambda: self.first_match(process, r"etrics are at (\S+)/metrics"), timeout=30
            )
            wait_until(lambda: fetch(worker.url + "/readyz")[0] == 200, timeout=30)
        return worker

    def first_match(self, process: Process, pattern: str) -> str:
        """Returns the first group of *pattern* in the output of a running process, or ""."""
        assert process.popen.poll() is None, process.output
        match = re.search(pattern, process.output)
        return match[1] if match else ""


@contextmanager
def running_stack(home: Path, **options: str) -> Iterator[Stack]:
    """Yields a stack in *home*; its server has *options*. Its processes end with the block."""
    with EmbeddedServer.start(home / "server", **options) as server:
        running = Stack(server, home)
        try:
            yield running
        finally:
            for process in reversed(running.processes):
                process.end()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path) as running:
        yield running
