"""A deleter that was suspended for longer than its lease deletes nothing that was renewed meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from deletion_support import needs_linux
from support import assert_balanced, wait_until
from tempfleet import Settings, State, TempFileManager
from tempfleet.cleanup import boot_seconds
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.registry import Nack

pytestmark = needs_linux

LEASE_SECONDS = 0.5

Make = Callable[..., TempFileManager]


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


@pytest.fixture
def make(real_client: redis.Redis, real_server: EmbeddedServer, base_dir: Path) -> Make:
    def make(**values: object) -> TempFileManager:
        settings = Settings.load(
            base_dir=str(base_dir),
            redis_url=real_server.unix_url,
            lease_seconds=LEASE_SECONDS,
            host="web-1",
            **values,
        )
        return TempFileManager(settings=settings)

    return make


def suspended_at(point: str, clean: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    """Starts *clean* in a process that suspends itself at *point*; returns when it is suspended."""

    def stop(reached: str) -> None:
        if reached == point:
            faults.install(None)
            # to this thread: it takes no further step
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def child() -> None:
        faults.install(stop)
        clean()

    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    pid = process.pid
    assert pid is not None
    wait_until(lambda: not process.is_alive() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "T")
    assert process.is_alive(), f"it did not reach {point}"
    return process


def go_on(process: multiprocessing.process.BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(20)
    assert process.exitcode == 0


def reap_and_renew(manager: TempFileManager, path: str) -> None:
    def recovered() -> bool:
        manager.registry.reap()
        record = manager.get_record(path)
        return record is not None and record.state is State.WAITING

    assert wait_until(recovered)
    manager.renew(path, ttl=3600)


@pytest.mark.parametrize(
    ("way", "point", "values"),
    [
        ("created", "direct.found", {}),
        ("created", "set-aside.noted", {"quarantine_seconds": 60}),
        ("named", "guarded.found", {}),
        ("named", "guarded.moved", {}),
        ("named", "guarded.compared", {}),
        ("named", "guarded.compared", {"secure_delete": True}),
        ("named", "set-aside.noted", {"quarantine_seconds": 60}),
        ("named", "guarded.compared", {"quarantine_seconds": 60}),
        ("directory", "guarded.compared", {}),
        ("created directory", "guarded.compared", {}),
    ],
)
def test_a_file_that_was_renewed_while_its_deleter_was_suspended_stays(
    make: Make, base_dir: Path, way: str, point: str, values: dict[str, object]
) -> None:
    manager = make(**values)
    path = base_dir / "file"
    if way == "created":
        file = manager.create(ttl=0.001)
        file.close()
        path = Path(file.path)
    elif way == "created directory":
        path = Path(manager.create_dir(ttl=0.001).path)
        (path / "inside").write_text("x")
    elif way == "directory":
        (path / "sub").mkdir(parents=True)
        (path / "sub" / "inside").write_text("x")
        manager.register(path, ttl=0.001, directory=True)
    else:
        path.write_text("x")
        manager.register(path, ttl=0.001)
    before = sorted(path.rglob("*"))
    process = suspended_at(point, lambda: make(**values).cleanup())
    reap_and_renew(manager, str(path))
    go_on(process)
    assert path.exists() and sorted(path.rglob("*")) == before
    record = manager.get_record(path)
    assert record is not None and record.state is State.WAITING
    assert manager.quarantined() == []
    assert_balanced(manager)


def test_a_tree_loses_no_entry_after_its_lease(make: Make, base_dir: Path) -> None:
    manager = make()
    tree = base_dir / "tree"
    tree.mkdir(parents=True)
    for n in range(3):
        (tree / str(n)).touch()
    manager.register(tree, ttl=0.001, directory=True)
    process = suspended_at("tree.entry", lambda: make().cleanup())
    assert wait_until(lambda: manager.registry.reap().recovered) == 1
    claim = manager.registry.claim(limit=1, lease_ms=60_000)
    left = sorted(p for p in (base_dir / f".tempfleet-{os.geteuid()}").rglob("*") if p.name in "012")
    assert len(left) == 2
    go_on(process)
    assert [path for path in left if path.exists()] == left
    manager.registry.nack(claim.token, [Nack(str(tree), counts=False)])
    assert manager.cleanup() == 1


def test_the_clock_of_a_lease_goes_on_while_the_host_is_suspended() -> None:
    assert abs(boot_seconds() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
