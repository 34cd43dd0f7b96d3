"""A base directory, or an audit log, on a file system whose server has stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fuse
from support import wait_until
from tempfleet import TempFileManager, VolumeUnavailable
from tempfleet.filesystem import NOT_ANSWERING
from tempfleet.testing import FakeClock

pytestmark = pytest.mark.skipif(bool(fuse.why_not()), reason=fuse.why_not())

MakeManager = Callable[..., TempFileManager]
BOUND_SECONDS = 8
"""The first call waits 5 s, all others nothing."""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[fuse.HungMount]:
    with fuse.mounted(tmp_path / "mount") as mounted:
        yield mounted


def test_a_base_directory_that_does_not_answer_is_unavailable_until_it_answers(
    make_manager: MakeManager, mount: fuse.HungMount, tmp_path: Path, clock: FakeClock
) -> None:
    manager = make_manager(mount.path / "base")
    other = make_manager(tmp_path / "other")
    file = manager.create(ttl=5)
    file.close()
    kept = Path(manager.base_dir) / "kept"
    kept.write_text("x")
    manager.register(kept, ttl=500)
    clock.advance(6)

    mount.stop()
    began = time.monotonic()
    calls: list[Callable[[], object]] = [
        manager.create,
        manager.create_dir,
        manager.cleanup,
        manager.clear_all,
        lambda: manager.register(kept),
        lambda: manager.renew(kept),
        lambda: manager.unregister(kept),
        lambda: manager.open(kept),
        lambda: manager.restore(kept),
        lambda: make_manager(mount.path / "base"),
    ]
    for call in calls:
        with pytest.raises(VolumeUnavailable) as caught:
            call()
        assert caught.value.reason == NOT_ANSWERING
    # It says so in a warning, and does not raise.
    manager.register_file(kept)
    health = manager.health_check()
    assert (health["status"], NOT_ANSWERING in health["error"]) == ("unhealthy", True)
    assert any(NOT_ANSWERING in finding.said for finding in manager.examine())
    assert manager.quarantined() == []
    # What a heartbeat does.
    manager.local_volume.unchecked_cleaner.clock.check()
    assert time.monotonic() - began < BOUND_SECONDS

    began = time.monotonic()
    with other.create():
        pass
    assert other.health_check()["status"] == "healthy"
    assert time.monotonic() - began < 1

    mount.go_on()
    wait_until(lambda: not manager.roots.check(), timeout=10)
    assert manager.cleanup() == 1
    assert not os.path.exists(file.path)
    assert kept.exists()
    assert manager.health_check()["status"] == "healthy"


def test_an_audit_log_that_does_not_answer_stops_no_clean_up(
    make_manager: MakeManager, mount: fuse.HungMount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = mount.path / "audit.log"
    manager = make_manager(tmp_path / "base", audit_log=str(log))
    mount.stop()
    began = time.monotonic()
    for _ in range(3):
        manager.create().close()
        assert manager.clear_all() == 1
    assert time.monotonic() - began < BOUND_SECONDS
    assert sum("cannot be written (not answering" in message for message in caplog.messages) == 1
    mount.go_on()
    wait_until(lambda: log.exists() and log.read_text(), timeout=10)
    manager.create().close()
    assert manager.clear_all() == 1
    assert log.read_text().count("\n") == 2


def test_a_mount_below_the_base_directory_that_does_not_answer_stops_no_search(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    """The search for unregistered files crosses no mount, so it must not ask one either."""
    manager = make_manager(tmp_path / "base")
    (tmp_path / "base" / "file").write_text("x")
    found: list[object] = []

    def search() -> None:
        found.extend(file.path for page in manager.unregistered(idle=0) for file in page)
        found.append(len(manager.examine()) > 0)

    with fuse.mounted(tmp_path / "base" / "below") as mount:
        mount.stop()
        thread = threading.Thread(target=search, daemon=True)
        thread.start()
        thread.join(BOUND_SECONDS)
        assert found == [str(tmp_path / "base" / "file"), True]


def test_a_quarantine_that_does_not_answer_delays_no_purge_and_no_adoption_of_another_root(
    make_manager: MakeManager, mount: fuse.HungMount, tmp_path: Path, clock: FakeClock
) -> None:
    manager = make_manager(tmp_path / "base", allowed_roots=(str(mount.path),), quarantine_seconds=600)
    for path in (mount.path / "file", tmp_path / "base" / "file"):
        path.write_text("x")
        manager.register(path, ttl=5)
    clock.advance(6)
    manager.cleanup()
    assert len(manager.quarantined()) == 2
    mount.stop()
    purged: list[int] = []

    def work() -> None:
        manager.adopt_quarantine()
        purged.append(manager.purge_quarantine(prefix=str(tmp_path / "base")).deleted)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(BOUND_SECONDS)
    assert purged == [1]
