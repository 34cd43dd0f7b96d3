"""A file system whose server has stopped, with a real worker, its pages and a program that uses the library."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fuse
from stack import Stack, Worker, fetch, fetch_json
from support import wait_until
from tempfleet import Settings, TempFileManager, VolumeUnavailable
from tempfleet.filesystem import NOT_ANSWERING

pytestmark = pytest.mark.skipif(bool(fuse.why_not()), reason=fuse.why_not())

BOUND_SECONDS = 8
"""A call that needs the mount waits 5 s."""

SOON_SECONDS = 3
"""A call that only looks at the mount waits 2 s, once in a process."""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[fuse.HungMount]:
    with fuse.mounted(tmp_path / "mount") as mounted:
        yield mounted


@pytest.fixture
def local(tmp_path: Path) -> Path:
    directory = tmp_path / "local"
    directory.mkdir(mode=0o700)
    return directory


def write(path: Path) -> Path:
    path.write_text("x")
    return path


def start_worker(stack: Stack, mount: fuse.HungMount, local: Path, **env: str) -> Worker:
    roots = os.pathsep.join(map(str, (mount.path, local)))
    return stack.worker(TEMP_FILE_ALLOWED_ROOTS=roots, **env)


def manager_of(worker: Worker, **changes: str) -> TempFileManager:
    return TempFileManager(
        settings=Settings.load(
            base_dir=changes.get("base_dir", str(worker.base_dir)),
            host=worker.env["TEMP_FILE_HOST"],
            redis_url=worker.env["TEMP_FILE_REDIS_URL"],
            allowed_roots=worker.env["TEMP_FILE_ALLOWED_ROOTS"],
        )
    )


def test_a_root_that_does_not_answer_delays_nothing_else_and_its_files_go_when_it_answers(
    stack: Stack, mount: fuse.HungMount, local: Path
) -> None:
    worker = start_worker(stack, mount, local)
    with manager_of(worker) as manager:
        there = [write(mount.path / f"there-{n}") for n in range(3)]
        here = [write(local / f"here-{n}") for n in range(3)]
        manager.register_many([*there, *here], ttl=2)
        later = write(mount.path / "later")
        mount.stop()

        began = time.monotonic()
        made = manager.create(ttl=2)
        made.close()
        assert time.monotonic() - began < 1

        began = time.monotonic()
        with pytest.raises(VolumeUnavailable, match=NOT_ANSWERING) as caught:
            manager.register(later)
        assert time.monotonic() - began < BOUND_SECONDS
        assert caught.value.reason == NOT_ANSWERING
        began = time.monotonic()
        with pytest.raises(VolumeUnavailable):
            manager.register(mount.path / "deeper" / "later")
        assert time.monotonic() - began < 1

        wait_until(lambda: not any(map(os.path.exists, [*here, made.path])), timeout=20)
        assert_shown(worker, manager, mount.path)

        mount.go_on()
        wait_until(lambda: not any(map(os.path.exists, there)), timeout=30)
        wait_until(lambda: worker.samples()["temp_file_roots_missing"] == 0, timeout=10)
        assert manager.stats().total("deleted") == len([*there, *here, made])
        manager.register(later)


def assert_shown(worker: Worker, manager: TempFileManager, root: Path) -> None:
    began = time.monotonic()
    assert manager.health_check()["status"] == "degraded"
    assert (
        f"Root {root} is unavailable: {NOT_ANSWERING}. Start that server" in manager.health_check()["warning"]
    )
    assert time.monotonic() - began < SOON_SECONDS
    finding = next(finding for finding in manager.examine() if NOT_ANSWERING in finding.said)
    assert str(root) in finding.said and finding.todo
    assert time.monotonic() - began < 2 * SOON_SECONDS
    for page in ("/healthz", "/readyz", "/health", "/metrics", "/"):
        began = time.monotonic()
        assert fetch(worker.url + page)[0] == 200
        assert time.monotonic() - began < SOON_SECONDS
    assert worker.samples()["temp_file_roots_missing"] == 1
    assert fetch_json(worker.url + "/health")["status"] == "degraded"
    assert f"{root} is unavailable: {NOT_ANSWERING}" in worker.get("/")
    log = worker.process.output
    assert log.count(f"{root} is unavailable ({NOT_ANSWERING})") == 1


def test_a_worker_ends_in_order_while_a_deletion_hangs(
    stack: Stack, mount: fuse.HungMount, local: Path
) -> None:
    worker = start_worker(stack, mount, local, TEMP_FILE_LEASE="4")
    with manager_of(worker) as manager:
        there = [write(mount.path / str(n)) for n in range(1000)]
        manager.register_many(there, ttl=1)
        wait_until(lambda: len(os.listdir(mount.path)) < len(there), timeout=20)
        mount.stop()
        here = write(local / "here")
        manager.register(here, ttl=0.1)
        wait_until(lambda: not here.exists(), timeout=20)
        worker.process.popen.send_signal(signal.SIGTERM)
        assert worker.process.popen.wait(60) == 0, worker.process.output
        mount.go_on()
        start_worker(stack, mount, local)
        wait_until(lambda: not any(map(os.path.exists, there)), timeout=60)


def test_registering_by_the_console_ends_on_a_mount_that_hangs(stack: Stack, mount: fuse.HungMount) -> None:
    path = write(mount.path / "file")
    mount.stop()
    env = stack.env(TEMP_FILE_ALLOWED_ROOTS=str(mount.path))
    process = stack.run(sys.executable, "-m", "tempfleet.cli", "register", str(path), env=env)
    assert process.popen.wait(3 * BOUND_SECONDS) == 1
    assert NOT_ANSWERING in process.output
