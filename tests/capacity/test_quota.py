"""The registry keeps its limits exactly, other limits hold within a bound; a noisy registrant harms no other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from support import Packages, assert_balanced, entries, python
from tempfleet import BatchError, QuotaExceeded, SettingsError, TempFileManager
from tempfleet.capacity import vain_searches
from tempfleet.capacity.host_totals import FRESH_SECONDS
from tempfleet.embedded import EmbeddedServer
from tempfleet.errors import AlreadyClaimed
from tempfleet.records import Deletion, NewFile, Outcome
from tempfleet.registry.registry import Registry
from tempfleet.registry.values import Limits, Nack, TagTotal
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def file(manager: TempFileManager, name: str, size: int = 1) -> Path:
    path = Path(manager.base_dir) / name
    path.write_bytes(b"x" * size)
    return path


def new(name: str, size: int = 10, *tags: str, identity: str = "") -> NewFile:
    return NewFile(f"/base/{name}", 60_000, size_bytes=size, identity=identity or f"i-{name}", tags=tags)


def codes(registry: Registry, batch: list[NewFile], /, **limits: int) -> list[str]:
    return [done.code for done in registry.register(batch, Limits(**limits))]


def settle(registry: Registry, outcome: Outcome = Outcome.DELETED) -> None:
    """Delete all due files."""
    claim = registry.claim(limit=1000, lease_ms=1000)
    registry.ack(claim.token, [Deletion(record, outcome) for record in claim.records])


# -- in the registry


def test_a_volume_accepts_files_up_to_its_limit(registry: Registry, clock: FakeClock) -> None:
    batch = [new(name) for name in "abcd"]
    assert codes(registry, batch, files=3) == ["new", "new", "new", "over:files"]
    assert (len(registry), registry.stats().imbalance) == (3, 0)
    assert codes(registry, [new("a"), new("d")], files=3) == ["again", "over:files"]
    clock.advance(60)
    settle(registry)
    assert codes(registry, [new("d")], files=3) == ["new"]


def test_a_volume_accepts_bytes_up_to_its_limit(registry: Registry) -> None:
    assert codes(registry, [new("a", 60), new("b", 50), new("c", 40)], bytes=100) == [
        "new",
        "over:bytes",
        "new",
    ]
    assert codes(registry, [new("a", 61, identity="other")], bytes=100) == ["over:bytes"]
    assert codes(registry, [new("a", 10, identity="other"), new("b", 50)], bytes=100) == ["swapped", "new"]
    assert registry.stats().bytes == 100


def test_a_tag_has_its_own_limits(registry: Registry) -> None:
    batch = [
        new("a", 10, "noisy"),
        new("b", 10, "noisy"),
        new("c", 10, "noisy", "quiet"),
        new("d", 10, "quiet"),
    ]
    assert codes(registry, batch, tag_files=2) == ["new", "new", "over:tag_files:noisy", "new"]
    assert codes(registry, [new("e", 91, "quiet")], tag_bytes=100) == ["over:tag_bytes:quiet"]
    assert registry.tag_totals() == {"noisy": TagTotal(2, 20), "quiet": TagTotal(1, 10)}


def test_a_file_counts_under_the_tags_of_all_its_registrations(registry: Registry) -> None:
    registry.register([new("a", 10, "x", "y")])
    registry.register([new("a", 30, "y", "z"), new("a", 30)])
    assert registry.tag_totals() == {tag: TagTotal(1, 30) for tag in "xyz"}
    registry.register([new("b", 5, "z")])
    assert codes(registry, [new("b", 5, "x", "w")], tag_files=1) == ["over:tag_files:x"]
    assert codes(registry, [new("b", 5, "w")], tag_files=1) == ["again"]
    assert registry.tag_totals()["w"] == TagTotal(1, 5)
    registry.unregister(["/base/b"])
    assert registry.tag_totals() == {tag: TagTotal(1, 30) for tag in "xyz"}
    registry.unregister(["/base/a"])
    assert registry.tag_totals() == {}


def test_any_text_may_be_a_tag(registry: Registry) -> None:
    tags = ("", ",", '"', "a b", "größe\n", "\udcff", "%", "tags\x00")
    registry.register([new("a", 1, *tags)])
    assert set(registry.tag_totals()) == set(tags)
    assert registry.read(["/base/a"])[1][0].tags == tags  # type: ignore[union-attr]


def test_a_file_that_waits_behind_a_claim_counts_from_its_registration(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new("a", 10, "x")])
    clock.advance(60)
    claim = registry.claim(limit=1, lease_ms=1000)
    assert codes(registry, [new("a", 95, "y", identity="2")], bytes=100) == ["over:bytes"]
    assert codes(registry, [new("a", 80, "y", identity="2")], bytes=100) == ["behind"]
    assert codes(registry, [new("a", 90, "y", identity="3")], bytes=100) == ["behind"]
    assert codes(registry, [new("b", 1)], bytes=100) == ["over:bytes"]
    assert registry.tag_totals() == {"x": TagTotal(1, 10), "y": TagTotal(1, 90)}
    registry.ack(claim.token, [Deletion(record, Outcome.REPLACED) for record in claim.records])
    assert registry.tag_totals() == {"y": TagTotal(1, 90)}
    assert (registry.stats().bytes, registry.stats().total("behind_bytes")) == (90, 0)
    assert codes(registry, [new("b", 10)], bytes=100) == ["new"]


@pytest.mark.parametrize("ended_by", ["its holder", "its lease"])
def test_a_file_that_replaces_an_undeleted_one_counts_alone(
    registry: Registry, clock: FakeClock, ended_by: str
) -> None:
    registry.register([new("a", 10, "x")])
    clock.advance(60)
    claim = registry.claim(limit=1, lease_ms=1000)
    registry.register([new("a", 90, "y", identity="2")])
    if ended_by == "its holder":
        registry.nack(claim.token, [Nack("/base/a", reason="open")])
    else:
        clock.advance(2)
        registry.reap()
    assert registry.tag_totals() == {"y": TagTotal(1, 90)}
    assert (registry.stats().bytes, registry.stats().total("behind_bytes")) == (90, 0)
    assert codes(registry, [new("b", 10)], bytes=100) == ["new"]


def test_a_tag_counts_failed_and_dead_files(registry: Registry, clock: FakeClock) -> None:
    registry.register([new("a", 10, "x"), new("b", 5, "x")])
    clock.advance(60)
    claim = registry.claim(limit=10, lease_ms=1000)
    registry.nack(claim.token, [Nack("/base/a", bury=True, reason="EACCES"), Nack("/base/b", delay_ms=1)])
    assert registry.tag_totals() == {"x": TagTotal(2, 15)}


@pytest.mark.process
def test_the_limits_are_exact_however_many_processes_register_at_once(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    code = """
import sys
from pathlib import Path
from tempfleet import QuotaExceeded, Settings, TempFileManager
me, base, url = sys.argv[1:]
manager = TempFileManager(settings=Settings.load(
    base_dir=base, redis_url=url, host="web-1", quota="reject", max_files=100, tag_max_files=40))
print("ready", flush=True)
sys.stdin.readline()
taken = 0
for n in range(100):
    path = Path(base, f"{me}-{n}")
    path.touch()
    try:
        manager.register(path, tags=["even" if n % 2 == 0 else "odd", me])
        taken += 1
    except QuotaExceeded as exc:
        assert exc.variable in ("MAX_TEMP_FILES", "TEMP_FILE_TAG_MAX_FILES"), exc
print(taken, flush=True)
"""
    base_dir.mkdir(mode=0o700)
    crowd = [python(code, f"p{n}", base_dir, real_server.unix_url) for n in range(4)]
    for process in crowd:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    taken = [int(process.communicate("\n", timeout=60)[0]) for process in crowd]
    with TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url) as manager:
        totals = manager.registry.tag_totals()
        assert sum(taken) == len(manager.files) == 80
        assert (totals["even"].files, totals["odd"].files) == (40, 40)
        assert len(list(base_dir.glob("p*"))) == 400
        assert_balanced(manager)


# -- with a manager


def test_without_limits_nothing_is_rejected_or_warned_of(manager: TempFileManager) -> None:
    for n in range(5):
        manager.register(file(manager, f"f{n}", 1000), tags=["x"])
    assert manager.health_check()["status"] == "healthy"


def test_a_soft_limit_degrades_health_in_the_specifications_words(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, max_bytes=10, tag_max_files=1)
    for name in ("a", "b"):
        manager.register(file(manager, name, 6), tags=["x"])
    report = manager.health_check()
    assert report["status"] == "degraded"
    assert report["warnings"] == [
        "Too many temp files: 2",
        "Temp files are too large: 12 bytes",
        "Too many temp files with the tag 'x': 2",
    ]


def test_a_hard_limit_rejects_with_all_that_a_caller_needs(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="reject")
    manager.register(file(manager, "a"))
    extra = file(manager, "b")
    with pytest.raises(QuotaExceeded, match="was not registered, because MAX_TEMP_FILES is 1") as refused:
        manager.register(extra)
    assert (refused.value.path, refused.value.variable, refused.value.most) == (
        str(extra), "MAX_TEMP_FILES", 1,
    )  # fmt: skip
    assert extra.exists()
    assert not manager.is_temp_file(extra)


def test_a_tags_limit_names_the_tag(make_manager: MakeManager) -> None:
    manager = make_manager(tag_max_bytes=5, quota="reject")
    with pytest.raises(QuotaExceeded, match="TEMP_FILE_TAG_MAX_BYTES is 5 for the tag 'größe'") as refused:
        manager.register(file(manager, "a", 6), tags=["größe"])
    assert refused.value.tag == "größe"


def test_a_file_over_the_size_limit_is_rejected_and_stays(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(size_limit_bytes=5)
    large = file(manager, "large", 6)
    with pytest.raises(
        QuotaExceeded, match="was not registered, because it has 6 bytes and TEMP_FILE_SIZE_LIMIT is 5"
    ):
        manager.register(large)
    with caplog.at_level(logging.WARNING, "tempfleet"):
        manager.register_file(large)
    assert "TEMP_FILE_SIZE_LIMIT is 5" in caplog.text
    assert large.exists() and len(manager.files) == 0
    manager.register(file(manager, "small", 5))


def test_a_batch_registers_the_files_within_the_limit_and_names_the_others(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=2, size_limit_bytes=5, quota="reject")
    paths = [file(manager, "large", 6), *(file(manager, name) for name in "abc")]
    with pytest.raises(BatchError) as refused:
        manager.register_many(paths)
    assert [record.path for record in refused.value.records] == [str(paths[1]), str(paths[2])]
    assert set(refused.value.errors) == {str(paths[0]), str(paths[3])}
    assert all(isinstance(error, QuotaExceeded) for error in refused.value.errors.values())


def test_creating_beyond_a_limit_leaves_nothing_behind(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="reject")
    with manager.create(), pytest.raises(QuotaExceeded):
        manager.create()
    assert_balanced(manager)
    assert manager.stats().active == 0


def test_a_rejected_file_is_not_deleted_at_the_end_of_the_block(make_manager: MakeManager) -> None:
    with make_manager(max_files=1, quota="reject") as manager:
        kept, gone = file(manager, "kept"), file(manager, "gone")
        manager.register(gone)
        manager.register_file(kept)
    assert kept.exists() and not gone.exists()


# -- making room


def test_the_oldest_files_of_the_registrant_make_room(make_manager: MakeManager, clock: FakeClock) -> None:
    manager = make_manager(max_files=3, quota="evict")
    paths = [file(manager, f"f{n}") for n in range(4)]
    for path in paths:
        manager.register(path)
        clock.advance(1)
    assert [path.exists() for path in paths] == [False, True, True, True]
    assert manager.stats().active == 3
    assert_balanced(manager)


@pytest.mark.parametrize(
    ("policy", "goes"), [("oldest", "a"), ("largest", "b"), ("least-recently-used", "c"), ("size-age", "b")]
)
def test_room_is_made_in_the_order_of_the_policy(
    make_manager: MakeManager, clock: FakeClock, policy: str, goes: str
) -> None:
    manager = make_manager(max_files=3, quota="evict", eviction_policy=policy)
    for name, size, used in (("a", 20, 300), ("b", 60, 200), ("c", 10, 100)):
        path = file(manager, name, size)
        os.utime(path, (used, used))
        manager.register(path)
        clock.advance(1)
    manager.register(file(manager, "new"))
    assert set("abc") - set(entries(Path(manager.base_dir))) == {goes}
    assert_balanced(manager)


def test_an_unknown_policy_stops_the_start(make_manager: MakeManager) -> None:
    with pytest.raises(SettingsError, match="must be one of largest, least-recently-used, oldest, size-age"):
        make_manager(eviction_policy="newest")


def test_a_file_in_use_makes_no_room_and_keeps_its_deadline(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="evict")
    used = file(manager, "used")
    manager.register(used)
    with used.open(), pytest.raises(QuotaExceeded):
        manager.register(file(manager, "b"))
    record = manager.get_record(used)
    assert record is not None and record.due_ms == record.deadline_ms
    assert used.exists()


def test_a_registrant_without_deletable_files_is_not_searched_at_each_rejection(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vain_searches, "LONG_SEARCH_FILES", 0)
    monkeypatch.setattr(vain_searches, "PAUSE_FACTOR", 1e6)
    manager = make_manager(max_files=2, quota="evict")
    held, other = file(manager, "held"), file(manager, "other")
    manager.register(held, tags=["a"])
    manager.hold(held)
    manager.register(other, tags=["b"])

    def rejected(tag: str) -> int:
        """Returns the number of round trips of a rejection."""
        began = manager.registry.store.round_trips
        with pytest.raises(QuotaExceeded):
            manager.register(file(manager, "new"), tags=[tag])
        return manager.registry.store.round_trips - began

    searched, paused = rejected("a"), rejected("a")
    assert paused < searched
    assert manager.register(file(manager, "new"), tags=["b"])
    assert not other.exists()


@pytest.mark.parametrize("change", ["unheld", "hold ended", "revived"])
def test_a_registrant_is_searched_again_as_soon_as_a_file_of_its_can_be_deleted(
    make_manager: MakeManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(vain_searches, "LONG_SEARCH_FILES", 0)
    monkeypatch.setattr(vain_searches, "PAUSE_FACTOR", 1e6)
    manager = make_manager(max_files=2, quota="evict")
    first, second = file(manager, "first"), file(manager, "second")
    manager.register(first, tags=["a"])
    manager.register(file(manager, "other"), tags=["b"])
    if change == "revived":
        claim = manager.registry.claim_paths([str(first)], lease_ms=1000, until_ms=manager.registry.now_ms())
        manager.registry.nack(claim.token, [Nack(str(first), bury=True)])
    else:
        manager.hold(first, 10 if change == "hold ended" else None)
    with pytest.raises(QuotaExceeded):
        manager.register(second, tags=["a"])
    if change == "revived":
        manager.registry.revive([str(first)])
    elif change == "unheld":
        manager.unhold(first)
    else:
        clock.advance(11)
        manager.registry.reap()
    assert manager.register(second, tags=["a"])
    assert not first.exists()


def test_quarantined_files_make_room_at_once(make_manager: MakeManager, clock: FakeClock) -> None:
    manager = make_manager(max_files=1, quota="evict", quarantine_seconds=600)
    first, second = file(manager, "first"), file(manager, "second")
    manager.register(first)
    clock.advance(1)
    manager.register(second)
    assert manager.is_temp_file(second)
    assert [file.path for file in manager.quarantined()] == [str(first)]


def test_files_that_their_users_deleted_make_room_at_once(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="evict")
    gone, extra = file(manager, "gone"), file(manager, "extra")
    manager.register(gone)
    gone.unlink()
    manager.register(extra)
    assert list(manager.files) == [str(extra)]
    assert_balanced(manager)


INTERRUPTED = """
    from tempfleet.plugins import hookimpl

    def meanwhile():
        pass

    def first(file):
        meanwhile()
        return 0

    @hookimpl
    def tempfleet_eviction_policies():
        return {"interrupted": first}
"""


def test_room_that_another_process_makes_of_the_same_files_counts(
    packages: Packages, make_manager: MakeManager
) -> None:
    packages.install("late", INTERRUPTED)
    manager = make_manager(max_files=1, quota="evict", eviction_policy="interrupted")
    path, extra = file(manager, "a"), file(manager, "extra")
    manager.register(path)
    packages.module("late").meanwhile = make_manager().clear_all  # between the choice and the claim
    manager.register(extra)
    assert list(manager.files) == [str(extra)]
    assert_balanced(manager)


def test_bytes_make_room_for_bytes(make_manager: MakeManager, clock: FakeClock) -> None:
    manager = make_manager(max_bytes=100, quota="evict")
    for name, size in (("a", 40), ("b", 40), ("c", 60)):
        manager.register(file(manager, name, size))
        clock.advance(1)
    assert manager.stats().bytes == 60


def test_a_noisy_registrant_makes_room_among_its_own_files_and_harms_no_other(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(max_files=4, quota="evict")
    others = [file(manager, "quiet"), file(manager, "untagged")]
    manager.register(others[0], tags=["quiet"])
    manager.register(others[1])
    for n in range(10):
        clock.advance(1)
        manager.register(file(manager, f"noisy{n}"), tags=["noisy"])
    assert all(path.exists() for path in others)
    assert manager.registry.tag_totals()["noisy"].files == 2
    with pytest.raises(QuotaExceeded):
        manager.register(file(manager, "third"), tags=["third"])


def test_held_files_make_no_room(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="evict")
    held = file(manager, "held")
    manager.register(held)
    manager.hold(held)
    with pytest.raises(QuotaExceeded):
        manager.register(file(manager, "b"))
    assert held.exists()


# -- a host


def test_a_hosts_limit_counts_all_its_volumes(make_manager: MakeManager, tmp_path: Path) -> None:
    first = make_manager(host_max_files=2, quota="reject")
    two = make_manager(tmp_path / "two", host_max_files=2, quota="reject")
    first.register(file(first, "a"))
    two.register(file(two, "b"))
    two.local_volume.admission.host.forget()  # type: ignore[union-attr]
    with pytest.raises(QuotaExceeded, match="TEMP_FILE_HOST_MAX_FILES is 2"):
        two.register(file(two, "c"))
    first.register(Path(first.base_dir) / "a")  # it is registered already, so no limit applies


def test_a_hosts_limit_is_exceeded_by_no_more_than_its_totals_are_old(
    make_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfleet.capacity.host_totals.FRESH_SECONDS", 3600.0)
    most, crowd = 200, 4
    managers = [make_manager(tmp_path / f"v{n}", host_max_files=most, quota="reject") for n in range(crowd)]
    taken = 0
    for n in range(most):
        for manager in managers:
            try:
                manager.register(file(manager, f"f{n}"))
                taken += 1
            except QuotaExceeded:
                pass
    assert most <= taken <= most + crowd * (most // 100 + 1)
    assert FRESH_SECONDS == 1.0


def test_a_hosts_soft_limit_degrades_health(make_manager: MakeManager) -> None:
    manager = make_manager(host_max_bytes=5)
    manager.register(file(manager, "a", 6))
    assert manager.health_check()["warnings"] == ["Host web-1 has more temp files than it may: 6 bytes"]


def test_registering_a_file_that_is_being_deleted_is_no_quota_error(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(max_files=1, quota="reject")
    path = file(manager, "a")
    manager.register(path, ttl=1)
    clock.advance(2)
    manager.registry.claim(limit=1, lease_ms=1000)
    with pytest.raises(AlreadyClaimed):
        manager.register(path)
