"""The quarantine, registry and disk together: quarantined, restored, purged, and always counted once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from processes import files_in
from support import assert_balanced
from tempfleet import AlreadyClaimed, FileMissing, Settings, TempFileManager, UnsafePath
from tempfleet.deletion.deleter import Deleter
from tempfleet.records import NewFile
from tempfleet.registry import PAUSE_SECONDS
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


def test_a_due_file_waits_out_its_quarantine_and_then_counts_as_deleted(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    report = manager.cleanup_report()
    assert (report.deleted, report.set_aside, report.lost, path.exists()) == (0, 1, 0, False)
    stats = manager.stats()
    assert (stats.total("deleted"), stats.total("aside"), stats.total("aside_bytes")) == (0, 1, 5)
    assert (stats.waiting, stats.bytes, stats.imbalance) == (1, 5, 0)
    assert [file.path for file in manager.quarantined()] == [str(path)]
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


def test_a_file_can_be_restored_while_it_is_quarantined(
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


@pytest.mark.parametrize(
    "grace", [GRACE, 0], ids=["quarantined", "deleted, because the quarantine is off now"]
)
def test_a_created_file_whose_claimer_died_after_quarantining_it_is_not_lost(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, base_dir: Path, grace: int
) -> None:
    with manager.create(ttl=5).file as file:
        file.write(b"hello")
    clock.advance(6)
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    deleter = manager.cleaner.deleter
    [result] = deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True)
    clock.advance(2)
    later = make_manager(quarantine_seconds=grace)
    assert later.registry.reap().recovered == 1
    promised = [(preview.outcome, preview.reason) for preview in later.preview()]
    report = later.cleanup_report()
    assert (report.set_aside, report.deleted) == ((1, 0) if grace else (0, 1))
    assert promised == [("deleted", "quarantine" if grace else "")]
    assert [file.aside_path for file in later.quarantined()] == ([result.new.path] if grace else [])
    assert_balanced(later)
    clock.advance(2 * GRACE)
    later.cleanup()
    assert (later.stats().active, files_in(base_dir)) == (0, [])


@pytest.mark.parametrize("created", [False, True])
def test_a_file_stays_restored_although_its_claimer_died_before_it_moved_the_record(
    manager: TempFileManager, clock: FakeClock, base_dir: Path, created: bool
) -> None:
    if created:
        with manager.create(ttl=5).file as file:
            file.write(b"hello")
            path = Path(file.name)
        clock.advance(6)
    else:
        path = due(manager, clock, base_dir / "a")
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    deleter = manager.cleaner.deleter
    list(deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True))
    with pytest.raises(AlreadyClaimed):
        manager.restore(path)
    assert not path.exists() and len(manager.quarantined()) == 1
    clock.advance(2)
    manager.registry.reap()
    manager.restore(path)
    assert not manager.is_temp_file(path)
    clock.advance(2 * GRACE)
    assert manager.cleanup() == 0
    assert path.read_text() == "hello"
    assert_balanced(manager)


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


def test_a_reused_path_has_its_own_record(manager: TempFileManager, clock: FakeClock, base_dir: Path) -> None:
    path = due(manager, clock, base_dir / "a", "first")
    manager.cleanup()
    due(manager, clock, path, "second")
    manager.cleanup()
    assert len(manager.quarantined()) == 2
    manager.restore(path)
    assert path.read_text() == "second"
    assert manager.stats().imbalance == 0


@pytest.mark.parametrize("unlinked", [False, True])
def test_a_path_that_is_linked_to_the_same_file_again_is_counted(
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


def test_a_file_that_stays_because_it_is_in_use_takes_no_room_in_the_quarantine(
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
        promised = [(preview.outcome, preview.reason) for preview in manager.preview()]
        report = manager.cleanup_report()
    assert promised == [("busy", "open"), ("deleted", "quarantine"), ("deleted", "quarantine-full")]
    assert (report.kept, report.set_aside, report.deleted) == (1, 1, 1)
    assert [file.path for file in manager.quarantined()] == [str(fits)]


@pytest.mark.parametrize("selected", [{"force": True}, {"tags": ["t"]}, {"force": True, "tags": ["t"]}])
def test_force_or_a_tag_deletes_a_file_when_its_quarantine_is_over(
    manager: TempFileManager, clock: FakeClock, base_dir: Path, selected: dict[str, object]
) -> None:
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    assert list(manager.preview(**selected)) == []
    assert manager.cleanup_report(**selected).deleted == 0
    clock.advance(GRACE)
    assert [preview.outcome for preview in manager.preview(**selected)] == ["deleted"]
    assert manager.cleanup_report(**selected).deleted == 1
    assert files_in(base_dir) == []


def test_force_does_not_shorten_the_quarantine_of_a_file_that_was_held(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    (aside,) = manager.quarantined()
    manager.hold(aside.aside_path, 5)
    clock.advance(6)
    assert list(manager.preview(force=True)) == []
    assert manager.cleanup(force=True) == 0


def test_a_purge_deletes_only_quarantined_files(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    first, second = due(manager, clock, base_dir / "a"), due(manager, clock, base_dir / "b")
    manager.cleanup()
    waiting = base_dir / "c"
    waiting.write_text("hello")
    manager.register(waiting, ttl=1)
    clock.advance(2)
    previews = list(manager.preview(quarantine=True, prefix=str(first)))
    assert [(preview.outcome, preview.freed_bytes > 0) for preview in previews] == [("deleted", True)]
    assert manager.purge_quarantine(tags=["other"]).deleted == 0
    assert manager.purge_quarantine(tags=["t"], prefix=str(first)).deleted == 1
    assert [file.path for file in manager.quarantined()] == [str(second)]
    report = manager.purge_quarantine()
    assert (report.deleted, report.set_aside, waiting.exists()) == (1, 0, True)
    assert manager.quarantined() == []
    stats = manager.stats()
    assert (stats.total("deleted"), stats.total("aside"), stats.waiting, stats.imbalance) == (2, 0, 1, 0)


@pytest.mark.parametrize("settled", [True, False], ids=["recorded there", "its claimer died before"])
def test_a_preview_shows_the_bytes_that_a_purge_frees(
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
        previews = manager.preview(quarantine=True)
    else:
        claim = manager.registry.claim(limit=3, lease_ms=1)
        set_aside = manager.cleaner.deleter.quarantine(
            claim.records, token=claim.token, may_go_on=lambda: True
        )
        assert len(list(set_aside)) == 3
        clock.advance(1)
        later = make_manager(quarantine_seconds=0)
        purge = later.cleanup_report
        previews = later.preview()
    promised = sorted(preview.freed_bytes for preview in previews)
    assert promised == [5, 300, 300]
    assert purge().freed_bytes == 605


def test_a_dry_run_and_explain_show_which_files_fit_into_the_quarantine(
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
    assert "will be quarantined" in str(manager.explain(fits))
    promised = list(manager.preview())
    assert [(preview.path, preview.outcome, preview.reason) for preview in promised] == [
        (str(fits), "deleted", "quarantine"),
        (str(too_large), "deleted", "quarantine-full"),
        (str(made), "deleted", "quarantine"),
    ]
    assert sum(preview.freed_bytes for preview in promised) == 5
    assert fits.exists() and manager.quarantined() == []
    report = manager.cleanup_report()
    assert (report.deleted, report.set_aside, report.freed_bytes) == (1, 2, 5)
    assert {file.path for file in manager.quarantined()} == {str(fits), str(made)}


def test_a_file_that_its_own_block_discards_is_not_quarantined(
    manager: TempFileManager, base_dir: Path
) -> None:
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


def test_a_crash_between_disk_and_registry_loses_nothing(
    manager: TempFileManager, clock: FakeClock, base_dir: Path
) -> None:
    path = due(manager, clock, base_dir / "a")
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    deleter = Deleter(manager.roots, manager.settings)
    assert len(list(deleter.quarantine(claim.records, token=claim.token, may_go_on=lambda: True))) == 1
    # the process dies here, before it settles with the registry
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


def test_a_file_that_waited_behind_a_quarantined_one_enters_the_registry(
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
    text = str(manager.explain(path))
    assert "is due in 1 min" in text and "it would be quarantined" in text and "a\\nb" in text
    manager.hold(path, 2)
    clock.advance(2)
    text = str(manager.explain(path))
    assert "was held; the hold has ended, and it is due in 58 s." in text
    assert "If it were due now, it would be quarantined" in text
    manager.hold(path)
    assert "held until tempfleet unhold" in str(manager.explain(path))
    manager.unhold(path)
    os.replace(path, base_dir / "moved")
    path.write_text("another")
    assert "it would be kept and expire later, because it was rewritten" in str(manager.explain(path))
    os.link(path, base_dir / "link")
    assert "not the registered file (linked)" in str(manager.explain(path))
    os.replace(base_dir / "moved", path)
    clock.advance(61)
    before = manager.stats().totals
    text = str(manager.explain(path))
    assert "is due.\nAt the next clean-up it will be quarantined" in text
    assert manager.stats().totals == before
    manager.hold(path, 2)
    clock.advance(2)
    text = str(manager.explain(path))
    assert "the hold has ended, and it is due.\nAt the next clean-up it will be quarantined" in text
    manager.cleanup()
    name = f"{base_dir}/a\\nb"
    restorable = "tempfleet restore brings it back."
    in_quarantine = f"{name} is in quarantine and will be deleted in 10 min; {restorable}"
    assert str(manager.explain(path)) == in_quarantine
    clock.advance(GRACE)
    later = f"is in quarantine and will be deleted at the next clean-up; {restorable}"
    assert str(manager.explain(path)) == f"{name} {later}"
    path.write_text("another")
    manager.register(path)
    assert str(manager.explain(path)).endswith(f"A file that had this path {later}")
    (aside,) = manager.quarantined()
    manager.hold(aside.aside_path)
    assert str(manager.explain(path)).endswith(f"is in quarantine; {restorable}")


def test_a_file_that_is_being_created_is_explained_as_kept(
    manager: TempFileManager, clock: FakeClock
) -> None:
    made = manager.create_dir()
    os.rmdir(made)
    assert "may still be creating it" in str(manager.explain(made))
    clock.advance(5)
    assert "its record would be dropped" in str(manager.explain(made))


def test_a_quarantined_file_that_redis_lost_is_adopted_waits_until_its_end_and_is_deleted(
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
    assert len(later.adopt_quarantine()) == 2
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


def test_a_quarantined_file_that_redis_lost_stops_no_clean_up_while_redis_is_full(
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
        assert later.cleanup() == 0
        clock.advance(PAUSE_SECONDS)
        later.cleanup()
    finally:
        real_client.config_set("maxmemory", "0")
    first.close(), later.close()
    assert not path.exists()


def test_a_file_that_a_dead_claimer_quarantined_is_left_to_the_claim_of_its_own_record(
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


def test_a_file_that_another_volume_quarantined_keeps_its_record_and_its_quarantine(
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
