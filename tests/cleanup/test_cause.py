"""Each cause of a deletion has the four properties of this table, and a clean-up obeys each of them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from conftest import MakeManager
from support import assert_balanced
from tempfleet import TempFileManager
from tempfleet.cleanup.cause import Cause
from tempfleet.cleanup.report import CleanupReport
from tempfleet.testing import FakeClock

#                  quarantines, claims_quarantined, awaits_creation, keeps_deadline
TABLE = {
    Cause.EXPIRED: (True, False, True, False),
    Cause.FORCED: (True, False, True, False),
    Cause.DISCARDED: (False, False, False, False),
    Cause.QUOTA: (True, False, True, True),
    Cause.EVICTED: (False, True, True, True),
    Cause.PURGED: (False, True, True, False),
}
GRACE = 600
each_cause = pytest.mark.parametrize("cause", Cause)


@pytest.fixture
def manager(make_manager: MakeManager) -> TempFileManager:
    return make_manager(quarantine_seconds=GRACE)


def clean(manager: TempFileManager, path: str | Path, cause: Cause) -> CleanupReport:
    return manager.cleaner.clean_paths([[str(path)]], cause, until_ms=manager.registry.now_ms())


def registered(manager: TempFileManager, path: Path) -> Path:
    path.write_text("hello")
    manager.register(path, ttl=3600)
    return path.resolve()


def test_the_table_has_every_cause_with_its_four_properties() -> None:
    assert {
        cause: (cause.quarantines, cause.claims_quarantined, cause.awaits_creation, cause.keeps_deadline)
        for cause in Cause
    } == TABLE


@each_cause
def test_a_file_goes_to_the_quarantine_only_for_a_cause_that_quarantines(
    manager: TempFileManager, base_dir: Path, cause: Cause
) -> None:
    report = clean(manager, registered(manager, base_dir / "a"), cause)
    assert (report.set_aside, report.deleted) == ((1, 0) if cause.quarantines else (0, 1))
    assert len(manager.quarantined()) == report.set_aside


@each_cause
def test_a_quarantined_file_goes_early_only_for_a_cause_that_claims_it(
    manager: TempFileManager, clock: FakeClock, base_dir: Path, cause: Cause
) -> None:
    clean(manager, registered(manager, base_dir / "a"), Cause.FORCED)
    (quarantined,) = manager.quarantined()
    assert clean(manager, quarantined.aside_path, cause).deleted == int(cause.claims_quarantined)
    clock.advance(GRACE)
    assert clean(manager, quarantined.aside_path, cause).deleted == int(not cause.claims_quarantined)
    assert_balanced(manager)


@each_cause
def test_a_created_file_that_is_missing_is_waited_for_unless_its_creator_deletes_it(
    manager: TempFileManager, cause: Cause
) -> None:
    path = manager.create_dir()
    os.rmdir(path)
    assert clean(manager, path, cause).kept == int(cause.awaits_creation)
    assert manager.is_temp_file(path) is cause.awaits_creation


@each_cause
def test_a_veto_keeps_the_record_of_a_missing_file_only_while_it_may_be_created(
    manager: TempFileManager, monkeypatch: pytest.MonkeyPatch, cause: Cause
) -> None:
    path = manager.create_dir()
    os.rmdir(path)
    monkeypatch.setattr(
        manager.cleaner.hooks, "vetoes", lambda files, **_: {file.path: "veto:x" for file in files}
    )
    assert clean(manager, path, cause).kept == int(cause.awaits_creation)


@each_cause
def test_a_kept_file_falls_due_no_sooner_only_for_a_cause_that_keeps_deadlines(
    manager: TempFileManager, base_dir: Path, cause: Cause
) -> None:
    path = registered(manager, base_dir / "a")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert clean(manager, path, cause).kept == 1
    (record,) = manager.records()
    assert record.due_ms is not None
    assert (record.due_ms >= record.deadline_ms) is cause.keeps_deadline
