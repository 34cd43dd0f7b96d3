"""The grace period, registry and disk together: set aside, restored, purged, and counted once throughout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from processes import files_in
from support import assert_balanced
from tempfleet import FileMissing, Settings, TempFileManager, UnsafePath
from tempfleet.cleanup.cause import Cause
from tempfleet.deletion.deleter import Deleter
from tempfleet.records import NewFile
from tempfleet.testing import FakeClock

GRACE = 600


@pytest.fixture
def manager(make_manager: MakeManager) -> TempFileManager:
    return make_manager(quarantine_seconds=GRACE)


def due(manager: TempFileManager, clock: FakeClock, path: Path, text: str = "hello") -> Path:
    path.write_text(text)
    manager.register(path, ttl=5, tags=["t"])
    clock.advance(6)
    return path


def test_a_due_file_waits_out_its_grace_period_and_then_counts_as_deleted(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    report = manager.cleanup_report()
    assert (report.deleted, report.set_aside, report.lost, path.exists()) == (0, 1, 0, False)
    stats = manager.stats()
    assert (stats.total("deleted"), stats.total("aside"), stats.total("aside_bytes")) == (0, 1, 5)
    assert (stats.waiting, stats.bytes, stats.imbalance) == (1, 5, 0)
    assert [one.path for one in manager.quarantined()] == [str(path)]
    clock.advance(GRACE - 1)
    assert manager.cleanup_report().set_aside == manager.cleanup_report().deleted == 0
    clock.advance(1)
    assert manager.cleanup() == 1
    stats = manager.stats()
    assert (stats.total("deleted"), stats.total("aside"), stats.total("aside_bytes"), stats.bytes) == (
        1,
        0,
        0,
        0,
    )
    assert (stats.active, stats.imbalance, files_in(base_dir)) == (0, 0, [])


def test_a_file_can_be_restored_while_its_grace_period_lasts(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    inode = path.stat().st_ino
    manager.cleanup()
    manager.restore(path)
    assert (path.read_text(), path.stat().st_ino) == ("hello", inode)
    assert not manager.is_temp_file(path)
    stats = manager.stats()
    assert (stats.active, stats.imbalance, stats.total("released"), stats.total("aside")) == (0, 0, 1, 0)
    clock.advance(2 * GRACE)
    assert manager.cleanup() == 0
    assert path.exists()
    with pytest.raises(FileMissing):
        manager.restore(path)


@pytest.mark.parametrize("grace", [GRACE, 0], ids=["set aside", "deleted, where there is no grace any more"])
def test_a_created_file_whose_claimer_died_after_setting_it_aside_is_not_lost(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, base_dir: Path, grace: int
) -> None:
    with manager.create(ttl=5).file as file:
        file.write(b"hello")
    clock.advance(6)
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    deleter = manager.cleaner.deleter
    [one] = deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True)
    clock.advance(2)
    later = make_manager(quarantine_seconds=grace)
    assert later.registry.reap().recovered == 1
    promised = [(each.outcome, each.reason) for each in later.preview()]
    report = later.cleanup_report()
    assert (report.set_aside, report.deleted) == ((1, 0) if grace else (0, 1))
    assert promised == [("deleted", "quarantine" if grace else "")]
    assert [each.aside_path for each in later.quarantined()] == ([one.new.path] if grace else [])
    assert_balanced(later)
    clock.advance(2 * GRACE)
    later.cleanup()
    assert (later.stats().active, files_in(base_dir)) == (0, [])


def test_restoring_never_overwrites(manager: TempFileManager, clock: FakeClock, base_dir: Path) -> None:
    path = due(manager, clock, base_dir / "a")
    manager.cleanup()
    path.write_text("another")
    with pytest.raises(UnsafePath, match="taken"):
        manager.restore(path)
    assert path.read_text() == "another"
    path.unlink()
    manager.restore(path)
    assert path.read_text() == "hello"


def test_a_path_that_is_used_again_has_a_life_of_its_own(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a", "first")
    manager.cleanup()
    due(manager, clock, path, "second")
    manager.cleanup()
    assert len(manager.quarantined()) == 2
    manager.restore(path)
    assert path.read_text() == "second"
    assert manager.stats().imbalance == 0


@pytest.mark.parametrize("unlinked", [False, True])
def test_a_path_that_is_linked_to_the_same_file_again_is_accounted_for(
    manager: TempFileManager, clock: FakeClock, base_dir: Path, unlinked: bool
) -> None:
    original, path = base_dir / "original", base_dir / "a"
    original.write_text("hello")
    for _ in range(2):
        os.link(original, path)
        manager.register(path, ttl=5)
        clock.advance(6)
        if unlinked and manager.quarantined():
            path.unlink()
        manager.cleanup()
        assert not path.exists()
        assert_balanced(manager)
    assert len(manager.quarantined()) == manager.stats().total("aside") == (1 if unlinked else 2)
    clock.advance(GRACE)
    manager.cleanup()
    assert (manager.stats().active, files_in(base_dir)) == (0, [original])
    assert_balanced(manager)


def test_forcing_does_not_cut_a_grace_period_short(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = base_dir / "a"
    path.write_text("hello")
    manager.register(path, ttl=500)
    clock.advance(1)
    assert manager.cleanup_report(force=True).set_aside == 1
    clock.advance(1)
    assert list(manager.preview(force=True)) == []
    assert manager.clear_all() == 0
    manager.restore(path)
    assert path.exists()


def test_a_file_that_stays_because_it_is_in_use_takes_no_room_in_quarantine(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager = make_manager(quarantine_seconds=GRACE, quarantine_max_bytes=7)
    used, fits, too_large = (base_dir / name for name in "abc")
    for path in (used, fits, too_large):
        path.write_text("hello")
        manager.register(path, ttl=5)
        clock.advance(1)
    clock.advance(6)
    with used.open():
        promised = [(each.outcome, each.reason) for each in manager.preview()]
        report = manager.cleanup_report()
    assert promised == [("busy", "open"), ("deleted", "quarantine"), ("deleted", "quarantine-full")]
    assert (report.kept, report.set_aside, report.deleted) == (1, 1, 1)
    assert [one.path for one in manager.quarantined()] == [str(fits)]


@pytest.mark.parametrize("selected", [{"force": True}, {"tags": ["t"]}, {"force": True, "tags": ["t"]}])
def test_what_is_cleaned_by_force_or_by_a_tag_goes_when_its_grace_period_is_over(
    manager: TempFileManager, clock: FakeClock, base_dir: Path, selected: dict[str, object]
) -> None:
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    assert list(manager.preview(**selected)) == []
    assert manager.cleanup_report(**selected).deleted == 0
    clock.advance(GRACE)
    assert [each.outcome for each in manager.preview(**selected)] == ["deleted"]
    assert manager.cleanup_report(**selected).deleted == 1
    assert files_in(base_dir) == []


def test_forcing_does_not_cut_the_grace_period_of_a_file_that_was_held_short(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    (aside,) = manager.quarantined()
    manager.hold(aside.aside_path, 5)
    clock.advance(6)
    assert list(manager.preview(force=True)) == []
    assert manager.cleanup(force=True) == 0


def test_a_purge_deletes_what_is_in_quarantine_and_nothing_else(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    first, second = due(manager, clock, base_dir / "a"), due(manager, clock, base_dir / "b")
    manager.cleanup()
    waiting = base_dir / "c"
    waiting.write_text("hello")
    manager.register(waiting, ttl=1)
    clock.advance(2)
    would = list(manager.preview(quarantine=True, prefix=str(first)))
    assert [(each.outcome, each.freed_bytes > 0) for each in would] == [("deleted", True)]
    assert manager.purge_quarantine(tags=["other"]).deleted == 0
    assert manager.purge_quarantine(tags=["t"], prefix=str(first)).deleted == 1
    assert [one.path for one in manager.quarantined()] == [str(second)]
    report = manager.purge_quarantine()
    assert (report.deleted, report.set_aside, waiting.exists()) == (1, 0, True)
    assert manager.quarantined() == []
    stats = manager.stats()
    assert (stats.total("deleted"), stats.total("aside"), stats.waiting, stats.imbalance) == (2, 0, 1, 0)


@pytest.mark.parametrize("settled", [True, False], ids=["recorded there", "its claimer died before"])
def test_a_preview_tells_what_a_purge_gives_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, settled: bool
) -> None:
    manager = make_manager(quarantine_seconds=GRACE)
    named, made = base_dir / "named", manager.create_dir(ttl=5)
    for at in (named, Path(made.path)):
        at.mkdir(exist_ok=True)
        (at / "file").write_bytes(bytes(300))
    manager.register(named, directory=True, ttl=5)
    due(manager, clock, base_dir / "a")
    if settled:
        assert manager.cleanup_report().set_aside == 3
        purge = manager.purge_quarantine
        would = manager.preview(quarantine=True)
    else:
        claim = manager.registry.claim(limit=3, lease_ms=1)
        set_aside = manager.cleaner.deleter.quarantine(
            claim.records, token=claim.token, may_go_on=lambda: True
        )
        assert len(list(set_aside)) == 3
        clock.advance(1)
        later = make_manager(quarantine_seconds=0)
        purge = later.cleanup_report
        would = later.preview()
    promised = sorted(each.freed_bytes for each in would)
    assert promised == [5, 300, 300]
    assert purge().freed_bytes == 605


def test_a_dry_run_and_explain_tell_what_is_set_aside_and_what_has_no_room(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager = make_manager(quarantine_seconds=GRACE, quarantine_max_bytes=7)
    fits, too_large = base_dir / "a", base_dir / "b"
    fits.write_text("hello")
    too_large.write_text("hello")
    for path in (fits, too_large):
        manager.register(path, ttl=5)
        clock.advance(1)
    made = manager.create_dir(ttl=5)
    Path(made, "inside").write_text("in")
    clock.advance(6)
    assert manager.explain(fits).verdict.reason == "quarantine"
    assert "would be quarantined" in str(manager.explain(fits))
    promised = list(manager.preview())
    assert [(each.path, each.outcome, each.reason) for each in promised] == [
        (str(fits), "deleted", "quarantine"),
        (str(too_large), "deleted", "quarantine-full"),
        (str(made), "deleted", "quarantine"),
    ]
    assert sum(each.freed_bytes for each in promised) == 5
    assert fits.exists() and manager.quarantined() == []
    report = manager.cleanup_report()
    assert (report.deleted, report.set_aside, report.freed_bytes) == (1, 2, 5)
    assert {one.path for one in manager.quarantined()} == {str(fits), str(made)}


def test_what_its_own_block_discards_is_not_kept(manager: TempFileManager, base_dir: Path) -> None:
    with manager.create() as draft:
        draft.write(b"x")
    assert manager.quarantined() == []
    assert files_in(base_dir) == []


def test_created_files_and_directories_can_be_restored(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    created = manager.create(ttl=5)
    created.write(b"made")
    created.close()
    directory = manager.create_dir(ttl=5)
    Path(directory, "inside").write_text("in")
    clock.advance(6)
    assert manager.cleanup_report().set_aside == 2
    manager.restore(created)
    manager.restore(directory)
    assert Path(created.path).read_bytes() == b"made"
    assert Path(directory, "inside").read_text() == "in"


def test_a_crash_between_disk_and_registry_leaves_nothing_lost(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    deleter = Deleter(manager.roots, manager.settings)
    assert len(list(deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True))) == 1
    # it dies here, before it tells the registry
    clock.advance(2)
    report = manager.cleanup_report()
    assert (report.set_aside, report.recovered) == (1, 1)
    assert manager.stats().total("aside") == 1
    manager.restore(path)
    assert path.read_text() == "hello"
    assert manager.registry.audit() == []


def test_a_record_that_moved_under_a_stale_token_changes_nothing(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    clock.advance(2)
    manager.registry.reap()
    before = manager.stats().totals
    moved = [(str(path), NewFile(f"{base_dir}/elsewhere", 1000))]
    assert manager.registry.quarantine(claim.token, moved) == 0
    assert manager.stats().totals == before


def test_a_file_that_waited_behind_one_set_aside_enters_the_registry(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = str(due(manager, clock, base_dir / "a"))
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    manager.registry.register([NewFile(path, 9000, identity="young", size_bytes=3)])
    assert manager.registry.quarantine(claim.token, [(path, NewFile(path + ".aside", 1000, flags="q"))]) == 1
    record = manager.get_record(path)
    assert record is not None and record.identity == "young"
    stats = manager.stats()
    assert (stats.waiting, stats.behind, stats.total("registered"), stats.imbalance) == (2, 0, 2, 0)
    assert manager.registry.audit() == []


def test_a_path_can_be_explained_at_each_point_of_its_life(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = base_dir / "a\nb"
    assert "is not registered" in str(manager.explain(path))
    path.write_text("hello")
    manager.register(path, ttl=60)
    told = str(manager.explain(path))
    assert "is due in 1 min" in told and "it would be quarantined" in told and "a\\nb" in told
    manager.hold(path)
    assert "held until tempfleet unhold" in str(manager.explain(path))
    manager.unhold(path)
    os.replace(path, base_dir / "moved")
    path.write_text("another")
    assert "not the registered file" in str(manager.explain(path))
    os.replace(base_dir / "moved", path)
    clock.advance(61)
    before = manager.stats().totals
    assert "is due." in str(manager.explain(path))
    assert manager.stats().totals == before
    manager.cleanup()
    assert "tempfleet restore" in str(manager.explain(path))


def test_what_is_being_created_at_this_moment_is_explained_as_kept(
    manager: TempFileManager, clock: FakeClock
) -> None:
    made = manager.create_dir()
    os.rmdir(made)
    assert "may still be creating it" in str(manager.explain(made))
    clock.advance(5)
    assert "its record would be dropped" in str(manager.explain(made))


def test_who_makes_room_deletes_outright_and_ends_a_grace_period_only_if_told_to(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    (aside,) = manager.quarantined()
    waiting = base_dir / "b"
    waiting.write_text("hello")
    manager.register(waiting)
    paths, now_ms = [[aside.aside_path, str(waiting)]], clock.now_ms
    assert manager.cleaner.clean_paths([[aside.aside_path]], Cause.FORCED, until_ms=now_ms).deleted == 0
    report = manager.cleaner.clean_paths(paths, Cause.EVICTED, until_ms=now_ms)
    assert (report.deleted, report.set_aside, report.freed_bytes) == (2, 0, 10)
    assert (manager.quarantined(), files_in(base_dir), manager.stats().imbalance) == ([], [], 0)


def test_what_redis_forgot_in_quarantine_waits_a_grace_period_more_and_goes(
    manager: TempFileManager,
    make_manager: MakeManager,
    clock: FakeClock,
    base_dir: Path,
    redis_client: redis.Redis,
) -> None:
    path, tree = due(manager, clock, base_dir / "a"), base_dir / "tree"
    tree.mkdir()
    (tree / "inside").write_text("hello")
    manager.register(tree, ttl=1, directory=True)
    clock.advance(2)
    manager.cleanup()
    assert len(manager.quarantined()) == 2
    redis_client.flushall()
    later = make_manager(quarantine_seconds=GRACE)
    assert later.cleanup() == 0
    stats = later.stats()
    assert (stats.waiting, stats.total("aside"), stats.total("aside_bytes")) == (2, 2, 10)
    clock.advance(GRACE - 1)
    assert later.cleanup() == 0
    clock.advance(1)
    assert later.cleanup() == 2
    assert (later.quarantined(), files_in(base_dir), path.exists()) == ([], [], False)
    stats = later.stats()
    assert (stats.total("aside"), stats.total("aside_bytes"), stats.bytes, stats.imbalance) == (0, 0, 0, 0)


def test_what_redis_forgot_in_quarantine_keeps_no_clean_up_from_cleaning_while_redis_is_full(
    clock: FakeClock, base_dir: Path, real_client: redis.Redis
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1", quarantine_seconds=GRACE)
    first, later = (TempFileManager(settings=settings, client=real_client, clock=clock) for _ in range(2))
    due(first, clock, base_dir / "forgotten")
    first.cleanup()
    real_client.flushall()
    path = due(first, clock, base_dir / "a")
    real_client.config_set("maxmemory", "1")
    try:
        later.cleanup()
    finally:
        real_client.config_set("maxmemory", "0")
    first.close(), later.close()
    assert not path.exists()


def test_what_a_dead_claimer_set_aside_is_left_to_the_claim_of_its_own_record(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    due(manager, clock, base_dir / "a")
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    list(manager.cleaner.deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True))
    later = make_manager(quarantine_seconds=GRACE)
    later.cleanup()
    assert later.stats().total("aside") == 0
    clock.advance(2)
    assert later.cleanup_report().set_aside == 1
    assert (later.stats().total("aside"), later.stats().imbalance) == (1, 0)


def test_what_another_volume_set_aside_keeps_its_record_and_its_grace_period(
    make_manager: MakeManager, clock: FakeClock, tmp_path: Path
) -> None:
    shared, outer = tmp_path / "shared", tmp_path / "outer"
    shared.mkdir()
    roots = [str(shared), str(outer)]
    owner = make_manager(outer / "base", quarantine_seconds=GRACE, allowed_roots=roots)
    other = make_manager(outer)
    paths = [due(owner, clock, directory / "a") for directory in (shared, outer)]
    owner.cleanup()
    assert len(owner.quarantined()) == 2
    make_manager(tmp_path / "third", allowed_roots=roots).cleanup()
    other.cleanup()
    clock.advance(1)
    assert other.cleanup() == other.stats().active == 0
    for path in paths:
        owner.restore(path)
    assert [path.read_text() for path in paths] == ["hello", "hello"]
    assert_balanced(owner), assert_balanced(other)
