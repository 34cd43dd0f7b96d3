"""What is half destroyed is promised to nobody: after a stop, a budget's end or a kill -9; and it is finished."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from processes import files_in
from support import assert_balanced, entries
from tempfleet import AlreadyClaimed, FileMissing, Settings, TempFileManager
from tempfleet.deletion import failpoints
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

GRACE = 600
KINDS = ["tree", "created tree", "overwritten file"]

DYING = """
import os, signal, sys
from tempfleet import Settings, TempFileManager
from tempfleet.deletion import failpoints as faults

def die(point):
    if point == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

faults.install(die)
settings = Settings.load(base_dir=sys.argv[1], host="web-1", secure_delete=True)
TempFileManager(settings=settings, redis_url=sys.argv[2]).cleanup(force=True)
"""


def registered(manager: TempFileManager, base_dir: Path, kind: str) -> Path:
    """Registers one file or directory with content, for 500 seconds."""
    if kind == "created tree":
        path = Path(manager.create_dir(ttl=500).path)
    elif kind == "tree":
        path = base_dir / "tree"
        path.mkdir()
    else:
        path = base_dir / "file"
        path.write_bytes(b"x" * (3 << 20))
        manager.register(path, ttl=500)
        return path
    for name in "abc":
        (path / name).write_bytes(b"x" * (3 << 20))
    if kind == "tree":
        manager.register(path, ttl=500, directory=True)
    return path


def expect_refusals(manager: TempFileManager, path: Path, kind: str) -> None:
    """Every promise is refused, and nothing changes."""
    before = manager.get_record(path)
    attempts: list[Callable[[], object]] = [
        lambda: manager.renew(path, ttl=10_000),
        lambda: manager.hold(path),
        lambda: manager.unregister(path),
    ]
    for attempt in attempts:
        with pytest.raises(AlreadyClaimed):
            attempt()
    assert manager.get_record(path) == before


def interrupt(manager: TempFileManager, point: str) -> None:
    """Cleans up, and is told to stop when *point* is reached the first time: the lease or the budget has ended."""
    reached: list[str] = []
    failpoints.install(lambda name: reached.append(name) if name == point else None)
    try:
        claim = manager.registry.claim_paths(
            [path for page in manager.registry.waiting_paths() for path in page],
            lease_ms=1000,
            until_ms=manager.registry.now_ms(),
        )
        deletions = manager.cleaner.deleter.delete(
            claim.records, token=claim.token, may_go_on=lambda: not reached
        )
        assert list(deletions) == []
    finally:
        failpoints.install(None)
    assert reached


@pytest.mark.parametrize(
    ("kind", "secure"), [("tree", False), ("tree", True), ("created tree", False), ("overwritten file", True)]
)
def test_what_a_budget_left_half_destroyed_is_promised_to_nobody_and_finished(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, kind: str, secure: bool
) -> None:
    manager = make_manager(secure_delete=secure)
    path = registered(manager, base_dir, kind)
    interrupt(manager, "begin.renamed" if kind == "overwritten file" else "tree.entry")
    assert not path.exists(), "a part of it has no name that looks whole"
    expect_refusals(manager, path, kind)
    clock.advance(1)
    manager.registry.reap()
    expect_refusals(manager, path, kind)
    clock.advance(500)
    report = make_manager().cleanup_report()
    assert (report.deleted, entries(base_dir)) == (1, [])
    assert_balanced(manager)


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (kind, point)
        for kind in KINDS
        for point in ("begin.recorded", "begin.renamed", "tree.entry", "tree.emptied", "secure.overwritten")
        if (kind == "overwritten file") == point.startswith("secure") or point.startswith("begin")
    ],
)
def test_what_a_killed_process_left_half_destroyed_is_promised_to_nobody_and_finished(
    base_dir: Path,
    real_server: EmbeddedServer,
    real_client: redis.Redis,
    clock: FakeClock,
    kind: str,
    point: str,
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1")
    manager = TempFileManager(settings=settings, client=real_client)
    path = registered(manager, base_dir, kind)
    manager.registry.observe()
    dying = subprocess.run(
        [sys.executable, "-c", DYING, str(base_dir), real_server.unix_url, point],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert dying.returncode == -signal.SIGKILL
    expect_refusals(manager, path, kind)
    later_ms = manager.registry.now_ms() + 1000 * 1000
    clock.advance((later_ms - clock.now_ms) / 1000)
    later = TempFileManager(settings=settings, client=real_client, clock=clock)
    later.registry.reap()
    expect_refusals(later, path, kind)
    assert later.cleanup_report().deleted == 1
    assert entries(base_dir) == []
    later.cleaner.deleter.recover()
    assert files_in(base_dir) == []
    assert_balanced(later)
    manager.close(), later.close()


def test_a_tree_is_not_touched_once_its_lease_is_gone(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """A deleter that was stopped for longer than its lease asks the registry before it destroys the first part."""
    manager = make_manager()
    path = registered(manager, base_dir, "tree")
    claim = manager.registry.claim_paths([str(path)], lease_ms=1000, until_ms=manager.registry.now_ms())

    def outlast(point: str) -> None:
        if point == "guarded.compared":
            clock.advance(2)
            manager.registry.reap()
            manager.renew(path, ttl=10_000)

    failpoints.install(outlast)
    try:
        deleter = manager.cleaner.deleter
        assert list(deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True)) == []
    finally:
        failpoints.install(None)
    assert sorted(os.listdir(path)) == ["a", "b", "c"]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kind", ["tree", "file"])
@pytest.mark.parametrize("point", ["begin.recorded", "begin.renamed", "tree.entry", "secure.overwritten"])
def test_after_restore_has_returned_the_file_is_whole(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str, kind: str, secure: bool
) -> None:
    """A purge and a restore at the same time: exactly one of them gets the file."""
    manager = make_manager(quarantine_seconds=GRACE, secure_delete=secure)
    path = base_dir / kind
    if kind == "tree":
        (path / "sub").mkdir(parents=True)
        (path / "sub" / "a").write_text("text")
        (path / "b").write_text("text")
    else:
        path.write_text("text" * 1000)
    manager.register(path, ttl=5, directory=kind == "tree")
    clock.advance(6)
    manager.cleanup()
    whole = _content(Path(manager.quarantined()[0].aside_path))
    restored: list[str] = []

    def restore(reached: str) -> None:
        if reached == point and not restored:
            try:
                manager.restore(path)
                restored.append("restored")
            except (AlreadyClaimed, FileMissing) as exc:
                restored.append(type(exc).__name__)

    failpoints.install(restore)
    try:
        clock.advance(GRACE)
        make_manager(quarantine_seconds=GRACE, secure_delete=secure).cleanup()
    finally:
        failpoints.install(None)
    if restored == ["restored"]:
        assert point == "begin.recorded"
        assert _content(path) == whole
    else:
        assert restored in ([], ["AlreadyClaimed"])
        assert not path.exists()
    assert manager.quarantined() == []
    clock.advance(3600)
    make_manager(quarantine_seconds=GRACE).cleanup()
    assert manager.stats().active == 0
    assert_balanced(manager)


@pytest.mark.parametrize("older", [False, True], ids=["", "an older file of that path is in quarantine too"])
def test_what_a_killed_purge_left_cannot_be_restored_and_is_finished(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, older: bool
) -> None:
    """Nor is an older file restored in its place."""
    manager = make_manager(quarantine_seconds=GRACE)
    if older:
        registered(manager, base_dir, "tree")
        clock.advance(501)
        manager.cleanup()
        (first,) = manager.quarantined()
        manager.renew(first.aside_path, ttl=5000)
    path = registered(manager, base_dir, "tree")
    clock.advance(501)
    manager.cleanup()
    (aside,) = [file for file in manager.quarantined() if not (older and file == first)]
    clock.advance(GRACE)
    interrupt(manager, "tree.entry")
    with pytest.raises(AlreadyClaimed):
        manager.restore(path)
    assert [file.path for file in manager.quarantined()] == ([str(path)] if older else [])
    with pytest.raises(AlreadyClaimed):
        manager.renew(aside.aside_path, ttl=10_000)
    clock.advance(2)
    assert make_manager(quarantine_seconds=GRACE).cleanup() == 1
    if older:
        manager.restore(path)
        assert sorted(os.listdir(path)) == ["a", "b", "c"]
        shutil.rmtree(path)
    manager.cleaner.deleter.recover()
    assert files_in(base_dir) == []
    assert_balanced(manager)


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in files}
