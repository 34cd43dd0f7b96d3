"""The laws of embedded servers, on real processes that are really killed."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from kombu import Connection
from support import wait_until

from tempfleet.embedded import (
    EmbeddedServer,
    broker_url,
    connect_url,
    disconnect_url,
    find_server,
    is_embedded,
)
from tempfleet.errors import EmbeddedServerError

GRACE = 0.5
CLIENT = f"""
import sys
from tempfleet.embedded.client import connect, directory_of
print(connect(directory_of(sys.argv[1]), grace_seconds={GRACE}), flush=True)
sys.stdin.read()
"""


class Client:
    """A process that uses ``embedded://DIR`` until it is told to end, or killed."""

    def __init__(self, url: str, cwd: Path | None = None, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | env,
        )

    @property
    def socket(self) -> str:
        assert self.process.stdout
        if not hasattr(self, "_socket"):
            assert select.select([self.process.stdout], [], [], 20)[0]
            self._socket = self.process.stdout.readline().strip()
        return self._socket

    def failure(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read().strip().splitlines()[-1]

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        self.process.communicate(timeout=10)


def processes_of(home: Path) -> list[psutil.Process]:
    """Keepers and servers of *home*: those that have one of its files open."""
    return [process for process in psutil.process_iter() if holds(process, home)]


def holds(process: psutil.Process, home: Path) -> bool:
    try:
        return process.pid != os.getpid() and any(
            Path(file.path.removesuffix(" (deleted)")).is_relative_to(home) for file in process.open_files()
        )
    except psutil.Error:
        return False


def keeper_of(home: Path) -> psutil.Process:
    return next(p for p in processes_of(home) if "tempfleet.embedded" in p.cmdline())


def server_pid(home: Path) -> int:
    return int((home / "server.pid").read_text())


def is_gone(home: Path) -> bool:
    return not processes_of(home)


def ask(socket: str, *command: str) -> object:
    with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        return client.execute_command(*command)


def answers(socket: str) -> bool:
    try:
        return bool(ask(socket, "PING"))
    except redis.ConnectionError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A DIR; after the test nothing may run there any more, without anybody having been told to end."""
    yield tmp_path / "server"
    wait_until(lambda: is_gone(tmp_path), timeout=10)


@pytest.fixture
def use(home: Path) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def start(url: str = "", **options: str) -> Client:
        clients.append(Client(url or f"embedded://{home}", **options))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


def test_other_urls_come_back_unchanged() -> None:
    for url in ("redis://localhost:6379/0", "rediss://x", "unix:///tmp/x.sock?db=1"):
        assert connect_url(url) == url and not is_embedded(url)
    assert broker_url("redis://localhost:6379/0") == "redis://localhost:6379/0"


def test_a_broker_url_is_made_of_a_unix_url() -> None:
    assert broker_url("unix:///tmp/x.sock?db=2") == "redis+socket:///tmp/x.sock?virtual_host=2"
    assert broker_url("unix:///tmp/x.sock") == "redis+socket:///tmp/x.sock?virtual_host=0"
    assert broker_url("unix://u:p@/x.sock?db=1") == "redis+socket://u:p@/x.sock?virtual_host=1"
    assert broker_url("unix:///x.sock?password=p") == "redis+socket://:p@/x.sock?virtual_host=0"


def test_processes_that_start_at_once_share_one_server(home: Path, use: Callable[..., Client]) -> None:
    clients = [use() for _ in range(6)]
    assert len({client.socket for client in clients}) == 1
    assert len({ask(client.socket, "INFO", "server")["run_id"] for client in clients}) == 1  # type: ignore[index]
    servers = [p for p in processes_of(home) if "tempfleet.embedded" not in " ".join(p.cmdline())]
    assert len(set(servers) - {psutil.Process(c.process.pid) for c in clients}) == 1


def test_the_server_goes_after_its_last_user_was_killed(home: Path, use: Callable[..., Client]) -> None:
    first, last = use(), use()
    assert answers(last.socket)
    first.kill()
    assert answers(last.socket)
    last.kill()
    wait_until(lambda: is_gone(home), timeout=GRACE + 5)


def test_the_data_is_there_for_the_next_user(home: Path, use: Callable[..., Client]) -> None:
    first = use()
    ask(first.socket, "SET", "k", "v")
    first.kill()
    wait_until(lambda: is_gone(home))
    assert ask(use().socket, "GET", "k") == "v"
