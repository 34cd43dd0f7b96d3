"""A deletion that hangs at one path, although its file system answers, as a frozen disk does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeManager
from support import assert_balanced, wait_until
from tempfleet import AlreadyClaimed
from tempfleet.cleanup import batch
from tempfleet.deletion import failpoints as faults
from tempfleet.filesystem import NOT_ANSWERING
from tempfleet.testing import FakeClock

pytestmark = pytest.mark.parametrize("redis_client", ["fake"], indirect=True)

SHORT = 0.2
FILES = 3


class Stuck:
    """The first deletion that gets to *point* hangs until it may go on. It counts those that get there."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.reached = 0
        self.may_go_on = threading.Event()

    def __call__(self, point: str) -> None:
        if point == self.point:
            self.reached += 1
            if self.reached == 1:
                assert self.may_go_on.wait(30)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    monkeypatch.setattr(batch, "STUCK_SECONDS", SHORT)
    monkeypatch.setattr(batch, "LOOK_SECONDS", SHORT)
    monkeypatch.setattr("tempfleet.cleanup.deletion_threads.LOOK_SECONDS", SHORT)
    hook = Stuck("guarded.found")
    faults.install(hook)
    yield hook
    hook.may_go_on.set()
    faults.install(None)


def files_in(directory: Path) -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = [directory / f"file{n}" for n in range(FILES)]
    for path in paths:
        path.write_text("text")
    return paths


@pytest.mark.parametrize("renews", [False, True], ids=["left", "renewed"])
def test_no_other_root_waits_for_a_deletion_that_hangs(
    make_manager: MakeManager, clock: FakeClock, tmp_path: Path, stuck: Stuck, renews: bool
) -> None:
    """Not even in the same batch. What its thread had not begun is handed back, and not touched by it later."""
    there, here = tmp_path / "there", tmp_path / "here"
    hung, others = files_in(there), files_in(here)
    manager = make_manager(allowed_roots=(str(there), str(here)))
    for path in hung:
        manager.register(path, ttl=4)
    for path in others:
        manager.register(path, ttl=5)
    clock.advance(6)
    began = time.monotonic()
    assert manager.cleanup() == FILES
    assert time.monotonic() - began < 10
    assert [path for path in others if path.exists()] == []
    assert all(path.exists() for path in hung)
    assert stuck.reached == 1 + FILES
    assert manager.stats().leased == 1
    assert NOT_ANSWERING in manager.health_check()["warning"]
    if renews:
        for path in hung[1:]:
            manager.renew(path, ttl=5000)
        with pytest.raises(AlreadyClaimed):
            manager.renew(hung[0])
    stuck.may_go_on.set()
    wait_until(lambda: manager.stats().leased == 0)
    clock.advance(400)
    manager.cleanup()
    assert [path.exists() for path in hung] == [False, renews, renews]
    assert NOT_ANSWERING not in manager.health_check().get("warning", "")
    assert_balanced(manager)


def test_a_clean_up_ends_whose_only_root_hangs_at_a_path(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, stuck: Stuck
) -> None:
    manager = make_manager()
    hung = files_in(base_dir)
    for path in hung:
        manager.register(path, ttl=5)
    clock.advance(6)
    began = time.monotonic()
    assert manager.cleanup() == 0
    assert time.monotonic() - began < 10
    stuck.may_go_on.set()
    wait_until(lambda: manager.stats().leased == 0)
    clock.advance(400)
    manager.cleanup()
    assert [path for path in hung if path.exists()] == []
    assert_balanced(manager)
