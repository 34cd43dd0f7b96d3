"""A host that does not come back, and the host that has its disk now (its heir)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support import assert_balanced
from tempfleet import HostLive, State, TempFileManager, UnknownHost, VolumeUnavailable
from tempfleet.records import FileRecord, NewFile
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import DISK, VOLUME_KEYS, volume_key
from tempfleet.registry.values import Nack, TagTotal
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def old(make_manager: MakeManager) -> TempFileManager:
    return make_manager(host="old")


@pytest.fixture
def heir(make_manager: MakeManager, old: TempFileManager) -> TempFileManager:
    return make_manager(host="heir")


def file(manager: TempFileManager, name: str, text: str = "text", **options: object) -> str:
    path = Path(manager.base_dir) / name
    path.write_text(text)
    return manager.register(path, **options).path  # type: ignore[arg-type]


def records_of(manager: TempFileManager) -> dict[str, FileRecord]:
    return {record.path: record for record in manager.records()}


def of_each_state(old: TempFileManager, clock: FakeClock) -> None:
    """A dead file, a failed one, one held for a while and one for ever, with reasons, and one that waits."""
    for name in ("dead", "failed"):
        file(old, name, ttl=1)
    clock.advance(2)
    claim = old.registry.claim(limit=2, lease_ms=1000)
    old.registry.nack(
        claim.token,
        [
            Nack(record.path, 60_000, bury=record.path.endswith("dead"), reason="EPERM")
            for record in claim.records
        ],
    )
    old.hold(file(old, "held"), 500, reason="ticket \udcff")
    old.hold(file(old, "kept"))
    for n in range(3):
        old.registry.hold(file(old, "held"), hold_ms=n + 1, name=f"k{n}", reason=f"ticket {n}")
    file(old, "waiting\n\udcff", tags=["a", "b,c"], ttl=77)


def test_every_record_arrives_as_it_was(
    old: TempFileManager, heir: TempFileManager, clock: FakeClock
) -> None:
    of_each_state(old, clock)
    before = records_of(old)
    keepers = {path: old.registry.keepers(path) for path in before}
    assert sorted(map(len, keepers.values())) == [0, 0, 0, 1, 4]
    tags = old.registry.tag_totals()
    done = heir.take_over("old")
    assert (done.entered, done.left) == (5, {})
    assert records_of(heir) == before
    assert {path: heir.registry.keepers(path) for path in before} == keepers
    assert (heir.stats().keepers, old.stats().keepers) == (5, 0)
    assert {record.state for record in before.values()} == {State.DEAD, State.HELD, State.WAITING}
    assert heir.registry.tag_totals() == tags == {"a": TagTotal(1, 4), "b,c": TagTotal(1, 4)}
    assert records_of(old) == {}
    assert old.stats().total("moved_out") == 5
    assert heir.stats().bytes == 20
    assert_balanced(old), assert_balanced(heir)


def test_the_heir_deletes_due_files_and_keeps_held_ones(
    old: TempFileManager, heir: TempFileManager, clock: FakeClock
) -> None:
    of_each_state(old, clock)
    heir.take_over("old")
    clock.advance(100)
    assert heir.cleanup() == 2
    assert sorted(os.listdir(heir.base_dir)) == [".tempfleet-" + str(os.geteuid()), "dead", "held", "kept"]
    assert_balanced(heir)


def test_quarantined_files_move_too_and_are_deleted_when_their_quarantine_is_over(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    old, heir = (make_manager(host=host, quarantine_seconds=50) for host in ("old", "heir"))
    path = file(old, "aside", ttl=1)
    clock.advance(2)
    old.cleanup()
    assert heir.take_over("old").entered == 1
    stats = heir.stats()
    assert (stats.total("aside"), stats.total("aside_bytes")) == (1, 4)
    assert old.stats().total("aside") == 0
    assert [aside.path for aside in heir.quarantined()] == [path]
    clock.advance(51)
    assert heir.cleanup() == 1
    assert heir.quarantined() == []
    assert heir.stats().total("aside") == heir.stats().total("aside_bytes") == 0
    assert_balanced(old), assert_balanced(heir)


def test_an_heir_that_cleans_before_it_takes_over_leaves_the_quarantine_to_its_records(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    old, heir = (make_manager(host=host, quarantine_seconds=50) for host in ("old", "heir"))
    path = file(old, "aside", ttl=1, tags=["t"])
    clock.advance(2)
    old.cleanup()
    heir.cleanup()
    assert heir.stats().active == 0
    done = heir.take_over("old")
    assert (done.entered, done.left) == (1, {})
    assert [aside.path for aside in heir.quarantined()] == [path]
    assert [record.tags for record in records_of(heir).values()] == [("t",)]
    assert_balanced(old), assert_balanced(heir)


def test_an_interrupted_takeover_is_finished_by_the_next(
    old: TempFileManager, heir: TempFileManager, clock: FakeClock
) -> None:
    of_each_state(old, clock)
    client = old.store.client
    keys = [volume_key(old.store.namespace, old.volume, name) for name in VOLUME_KEYS]
    before = {key: client.dump(key) for key in keys}
    heir.take_over("old")
    for key, dump in before.items():  # as if the last move had stopped half-way
        client.delete(key)
        if dump is not None:
            client.restore(key, 0, dump)
    assert len(records_of(old)) == len(records_of(heir)) == 5
    renewed = os.path.join(old.base_dir, "waiting\n\udcff")
    deadline = heir.renew(renewed, ttl=5000)
    done = heir.take_over("old")
    assert (done.entered, done.left, records_of(old)) == (5, {}, {})
    assert records_of(heir)[renewed].deadline_ms == deadline * 1000
    assert_balanced(old), assert_balanced(heir)


def test_a_path_with_its_own_record_here_stays_there_and_is_listed(
    old: TempFileManager, heir: TempFileManager, clock: FakeClock
) -> None:
    path = file(old, "both")
    clock.advance(1)
    ours = heir.register(path, ttl=9000)
    done = heir.take_over("old")
    assert (done.entered, done.left) == (0, {"taken": 1})
    assert records_of(heir)[path].deadline_ms == ours.deadline_ms
    assert path in records_of(old)


def test_records_of_a_dead_claimer_move_once_its_lease_has_run_out(
    old: TempFileManager, heir: TempFileManager, clock: FakeClock
) -> None:
    file(old, "a", ttl=1)
    clock.advance(2)
    old.registry.claim(limit=1, lease_ms=10_000)
    assert heir.take_over("old").left == {"leased": 1}
    clock.advance(11)
    assert heir.take_over("old").entered == 1


def test_a_damaged_record_stays_and_stops_no_other(old: TempFileManager, heir: TempFileManager) -> None:
    fine, damaged, nowhere = file(old, "fine"), file(old, "damaged"), file(old, "nowhere")
    client, store = old.store.client, old.store
    client.hset(volume_key(store.namespace, old.volume, "records"), damaged, "?")
    client.zrem(volume_key(store.namespace, old.volume, "registry"), nowhere)
    done = heir.take_over("old")
    assert (done.entered, done.left) == (1, {"damaged": 2})
    assert set(records_of(heir)) == {fine}


def test_a_live_host_keeps_its_records(old: TempFileManager, heir: TempFileManager) -> None:
    file(old, "a")
    Fleet(old.store).heartbeat("old")
    with pytest.raises(HostLive):
        heir.take_over("old")
    assert len(records_of(old)) == 1


def test_a_host_without_this_base_directory_is_refused_with_a_list_of_its_own(
    old: TempFileManager, heir: TempFileManager, make_manager: MakeManager, tmp_path: Path
) -> None:
    elsewhere = make_manager(tmp_path / "elsewhere", host="old")
    file(elsewhere, "a")
    with pytest.raises(UnknownHost, match=str(tmp_path / "elsewhere")):
        heir.take_over("old")
    with pytest.raises(UnknownHost, match="nothing"):
        heir.take_over("nobody")
    with pytest.raises(UnknownHost, match="this is that host"):
        heir.take_over("heir")


def test_records_of_files_on_another_disk_are_not_taken_over(
    old: TempFileManager, heir: TempFileManager
) -> None:
    file(old, "a")
    old.registry.set_meta(DISK, "g1.2.another")
    with pytest.raises(VolumeUnavailable, match="tempfleet adopt"):
        heir.take_over("old")
    assert len(records_of(old)) == 1


def test_the_temp_directory_of_another_machine_is_another_disk(
    make_manager: MakeManager, old: TempFileManager, base_dir: Path
) -> None:
    path = file(old, "a")
    os.rename(base_dir, base_dir.with_name("on-the-other-machine"))
    heir = make_manager(host="heir")
    assert heir.roots.base.path == os.path.dirname(path)
    with pytest.raises(VolumeUnavailable, match="tempfleet adopt"):
        heir.take_over("old")
    assert [*records_of(old)] == [path]


def test_thousands_of_records_take_three_round_trips_a_thousand(
    old: TempFileManager, heir: TempFileManager
) -> None:
    files = [NewFile(f"{old.roots.base.path}/{n}", 1000, identity="g1.2.3") for n in range(2500)]
    old.registry.register(files)
    before = heir.store.round_trips + old.store.round_trips
    counts: list[int] = []
    assert heir.take_over("old", progress=counts.append).entered == 2500
    assert heir.store.round_trips + old.store.round_trips - before < 30
    assert counts == sorted(counts) and counts[-1] == 2500
