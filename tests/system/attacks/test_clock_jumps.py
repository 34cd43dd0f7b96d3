"""
Jumps of a real server's clock, seen by real workers: nothing goes early, and cleaning goes on.

The server runs with a small library that adds an offset to the time of day. The test changes the offset in a file.
"""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from processes import Worker, manager_of
from support import assert_balanced, wait_until
from tempfleet import TempFileManager
from tempfleet.embedded.server import find_server

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long *offset;

__attribute__((constructor)) static void start(void) {
    int fd = open(getenv("OFFSET_FILE"), O_RDONLY);
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME && offset) at->tv_sec += *offset;
    return result;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Server:
    """A Redis whose clock the test sets. It keeps its data only if the test saves them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"unix://{home}/server.sock"
        source, self.shim, self.offset = home / "shim.c", home / "shim.so", home / "offset"
        source.write_text(SHIM)
        self.offset.write_bytes(struct.pack("l", 0))
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(self.shim), str(source), "-ldl"], check=True, cwd=home
        )
        self.client = redis.Redis.from_url(self.url)

    def start(self) -> None:
        binary = shutil.which("redis-server") or find_server()
        options = ["--port", "0", "--unixsocket", "server.sock", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [binary, *options],
            cwd=self.home,
            env={**os.environ, "LD_PRELOAD": str(self.shim), "OFFSET_FILE": str(self.offset)},
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._answers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def jump_to(self, seconds: int) -> None:
        """Set the clock so far ahead of the right time."""
        with self.offset.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:] = struct.pack("l", seconds)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("s"))
    server.start()
    server.jump_to(1000)
    if abs(server.client.time()[0] - time.time() - 1000) > 2:
        server.kill()
        pytest.skip("the server's clock cannot be set")
    server.jump_to(0)
    yield server
    server.kill()


def worker(host: str, server: Server, tmp_path: Path) -> Worker:
    quick = {"TEMP_FILE_TIMER_INTERVAL": "0.5", "TEMP_FILE_HEARTBEAT": "0.5"}
    return Worker(host, tmp_path / host, server.url, tmp_path, **quick).wait_until_ready()


def register(manager: TempFileManager, count: int, *, ttl: float, name: str) -> list[Path]:
    paths = [Path(manager.base_dir) / f"{name}{n}" for n in range(count)]
    for path in paths:
        path.write_text("hello")
    manager.register_many(paths, ttl=ttl)
    return paths


def left(paths: list[Path]) -> int:
    return sum(path.exists() for path in paths)


def wait_for_clean_ups(*managers: TempFileManager, count: int = 3) -> None:
    for manager in managers:
        before = manager.stats().total("cleanups")
        wait_until(lambda manager=manager, before=before: manager.stats().total("cleanups") >= before + count)


def slack_seconds(manager: TempFileManager) -> float:
    return manager.stats().slack_ms / 1000


@pytest.mark.parametrize("seconds", [360, 365 * 86400])
def test_after_a_jump_ahead_no_worker_deletes_a_file_early(
    server: Server, tmp_path: Path, seconds: int
) -> None:
    managers = [manager_of(host, tmp_path / host, server.url) for host in ("web-1", "web-2")]
    with worker("web-1", server, tmp_path), worker("web-2", server, tmp_path):
        wait_for_clean_ups(*managers)
        lasting = [path for manager in managers for path in register(manager, 100, ttl=300, name="l")]
        short = [path for manager in managers for path in register(manager, 5, ttl=4, name="s")]
        held = [path for manager in managers for path in register(manager, 1, ttl=1, name="h")]
        for manager, path in zip(managers, held, strict=True):
            manager.hold(path, 100)
        registered = time.monotonic()
        server.jump_to(seconds)
        wait_until(lambda: all(slack_seconds(manager) for manager in managers))
        wait_for_clean_ups(*managers)
        slacks = [slack_seconds(manager) for manager in managers]
        assert slacks == [pytest.approx(seconds, abs=3)] * 2
        assert slacks[0] == slacks[1]
        assert managers[0].health_check()["status"] == "degraded"
        # cleaning goes on, and not before its time
        wait_until(lambda: left(short) == 0)
        assert time.monotonic() - registered > 3.5
        late = [path for manager in managers for path in register(manager, 1, ttl=1, name="late")]
        wait_for_clean_ups(*managers, count=5)
        assert (left(lasting), left(held), left(late)) == (200, 2, 2)
        # Redis steps back: the delay ends
        server.jump_to(0)
        wait_until(lambda: not any(slack_seconds(manager) for manager in managers))
        assert [manager.stats().pause for manager in managers] == [None, None]
        new = [path for manager in managers for path in register(manager, 1, ttl=1, name="new")]
        wait_until(lambda: left(new) == 0)
        assert (left(lasting), left(held)) == (200, 2)
    for manager in managers:
        assert_balanced(manager)
        manager.close()


def test_a_worker_that_is_stopped_and_a_server_that_is_away_make_no_jump(
    server: Server, tmp_path: Path
) -> None:
    manager = manager_of("web-1", tmp_path / "web-1", server.url)
    with worker("web-1", server, tmp_path) as running:
        wait_for_clean_ups(manager)
        paths = register(manager, 5, ttl=300, name="l")
        os.killpg(running.process.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 4)
        os.killpg(running.process.pid, signal.SIGCONT)
        wait_for_clean_ups(manager)
        server.client.save()
        server.kill()
        killed = time.monotonic()
        wait_until(lambda: time.monotonic() > killed + 4)
        server.start()
        wait_for_clean_ups(manager)
        assert (slack_seconds(manager), manager.stats().pause, left(paths)) == (0, None, 5)
    manager.close()


def test_a_server_with_another_clock_takes_over(server: Server, tmp_path: Path) -> None:
    manager = manager_of("web-1", tmp_path / "web-1", server.url)
    with worker("web-1", server, tmp_path):
        wait_for_clean_ups(manager)
        paths = register(manager, 50, ttl=300, name="l")
        server.client.save()
        server.kill()
        server.jump_to(86400)
        server.start()
        wait_until(lambda: slack_seconds(manager))
        wait_for_clean_ups(manager)
        assert slack_seconds(manager) == pytest.approx(86400, abs=5)
        assert left(paths) == 50
    manager.close()


def test_a_server_with_an_old_dump_pauses_claims(server: Server, tmp_path: Path) -> None:
    manager = manager_of("web-1", tmp_path / "web-1", server.url)
    with worker("web-1", server, tmp_path):
        wait_for_clean_ups(manager)
        (renewed,) = register(manager, 1, ttl=6, name="renewed")
        server.client.save()
        manager.renew(renewed, ttl=300)
        gone = register(manager, 5, ttl=1, name="gone")
        wait_until(lambda: left(gone) == 0)
        server.kill()
        server.start()
        wait_until(lambda: manager.stats().pause)
        wait_until(lambda: manager.registry.past_ms() > manager.get_record(renewed).deadline_ms)  # type: ignore[union-attr]
        wait_for_clean_ups(manager)
        assert renewed.exists()
    manager.close()


def test_a_worker_that_starts_during_the_jump_deletes_nothing_early(server: Server, tmp_path: Path) -> None:
    manager = manager_of("web-1", tmp_path / "web-1", server.url)
    with worker("web-1", server, tmp_path):
        wait_for_clean_ups(manager)
        paths = register(manager, 50, ttl=300, name="l")
    server.jump_to(3600)
    with worker("web-1", server, tmp_path):
        wait_for_clean_ups(manager)
        assert slack_seconds(manager) == pytest.approx(3600, abs=3)
        with worker("web-1", server, tmp_path):
            wait_for_clean_ups(manager)
        assert slack_seconds(manager) == pytest.approx(3600, abs=3)
        assert left(paths) == 50
    manager.close()
