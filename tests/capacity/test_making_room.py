"""TEMP_FILE_QUOTA=evict: no registration is rejected while another file of its registrant could be deleted."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from support import assert_balanced, python, wait_until
from tempfleet import Deletion, Outcome, QuotaExceeded, Settings, TempFileManager
from tempfleet.capacity import making_room, vain_searches
from tempfleet.embedded import EmbeddedServer
from tempfleet.registry.values import Cursor, Nack
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def file(manager: TempFileManager, name: str) -> Path:
    path = Path(manager.base_dir) / name
    path.write_bytes(b"x")
    return path


CROWD = """
import json, sys, time
from pathlib import Path
from tempfleet import QuotaExceeded, Settings, TempFileManager
me, base, url, most, limit, count = sys.argv[1:]
manager = TempFileManager(settings=Settings.load(
    base_dir=base, redis_url=url, host="web-1", quota="evict", audit_log="", **{limit: int(most)}))
manager.stats()
print("ready", flush=True)
sys.stdin.readline()
rejected, largest = 0, 0
for n in range(int(count)):
    path = Path(base, f"{me}-{n}")
    path.write_bytes(b"x")
    try:
        manager.register(path, tags=["crowd"])
    except QuotaExceeded:
        rejected += 1
    largest = max(largest, len(manager.files))
print(json.dumps([rejected, largest]), flush=True)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("limit", "most", "count"), [("max_files", 100, 60), ("tag_max_files", 5, 30), ("max_bytes", 20, 30)]
)
def test_eight_processes_that_make_room_for_each_other_are_never_rejected(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, limit: str, most: int, count: int
) -> None:
    base_dir.mkdir(mode=0o700)
    arguments = base_dir, real_server.unix_url, most, limit, count
    crowd = [python(CROWD, f"p{n}", *arguments) for n in range(8)]
    for process in crowd:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [json.loads(process.communicate(timeout=120)[0]) for process in crowd]
    assert sum(rejected for rejected, _ in results) == 0
    assert max(largest for _, largest in results) <= most
    with TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url) as manager:
        assert manager.stats().total("registered") == 8 * count
        assert {Path(path).name for path in manager.files} == {path.name for path in base_dir.glob("p*")}
        assert_balanced(manager)


def test_files_that_cannot_be_deleted_do_not_hide_the_others(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(max_files=5, quota="evict")
    used = [file(manager, f"used-{n}") for n in range(4)]
    manager.register_many(used)
    clock.advance(1)
    free = file(manager, "free")
    manager.register(free)
    opened = [path.open() for path in used]
    try:
        # the policy puts the used ones first, and there are more of them than one search chooses
        manager.register(file(manager, "new"))
    finally:
        for stream in opened:
            stream.close()
    assert not free.exists()
    assert all(path.exists() for path in used)
    assert_balanced(manager)


def test_a_file_whose_deletion_failed_goes_last(make_manager: MakeManager, clock: FakeClock) -> None:
    manager = make_manager(max_files=2, quota="evict")
    failed, other = file(manager, "failed"), file(manager, "other")
    manager.register(failed)
    claim = manager.registry.claim_paths([str(failed)], lease_ms=1000, until_ms=clock.now_ms)
    manager.registry.nack(claim.token, [Nack(str(failed), reason="EACCES")])
    clock.advance(1)
    manager.register(other)
    manager.register(file(manager, "new"))
    assert (failed.exists(), other.exists()) == (True, False)
    manager.register(file(manager, "newest"))
    assert_balanced(manager)


def test_a_registration_waits_for_the_files_that_others_are_deleting(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    settings = Settings.load(
        base_dir=str(base_dir), redis_url=real_server.unix_url, host="web-1", max_files=1, quota="evict"
    )
    with TempFileManager(settings=settings) as manager:
        first = file(manager, "first")
        manager.register(first)
        claim = manager.registry.claim_paths(
            [str(first)], lease_ms=60_000, until_ms=manager.registry.now_ms()
        )
        before = rounds(real_client)
        waiting = threading.Thread(target=manager.register, args=(file(manager, "second"),))
        waiting.start()
        wait_until(lambda: rounds(real_client) > before + 3)
        first.unlink()
        manager.registry.ack(claim.token, [Deletion(record, Outcome.DELETED) for record in claim.records])
        waiting.join(30)
        assert [Path(path).name for path in manager.files] == ["second"]
        assert_balanced(manager)


def rounds(client: redis.Redis) -> int:
    """Returns about how often a waiting registration has tried again: each round calls about five scripts."""
    return int(client.info("commandstats")["cmdstat_evalsha"]["calls"]) // 5


def test_a_registration_waits_for_others_no_longer_than_its_patience(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_room, "PATIENCE_SECONDS", 0.2)
    manager = make_manager(max_files=1, quota="evict")
    first = file(manager, "first")
    manager.register(first)
    manager.registry.claim_paths([str(first)], lease_ms=60_000, until_ms=manager.registry.now_ms())
    began = time.monotonic()
    with pytest.raises(QuotaExceeded):
        manager.register(file(manager, "second"))
    assert 0.1 < time.monotonic() - began < 10
    assert first.exists()


@pytest.mark.parametrize("how", ["hold", "claim"])
def test_files_of_an_ended_hold_or_claim_make_room(
    make_manager: MakeManager, clock: FakeClock, how: str
) -> None:
    manager = make_manager(max_files=1, quota="evict")
    first = file(manager, "first")
    manager.register(first)
    if how == "hold":
        manager.hold(first, 5)
    else:
        manager.registry.claim_paths([str(first)], lease_ms=5000, until_ms=clock.now_ms)
    clock.advance(6)
    manager.register(file(manager, "second"))
    assert not first.exists()
    assert_balanced(manager)


def test_a_registrant_without_other_files_is_rejected_at_once(make_manager: MakeManager) -> None:
    manager = make_manager(max_files=1, quota="evict")
    manager.register(file(manager, "first"), tags=["a"])
    before = manager.registry.store.round_trips
    with pytest.raises(QuotaExceeded):
        manager.register(file(manager, "second"), tags=["b"])
    assert manager.registry.store.round_trips - before < 20


@pytest.mark.parametrize("tags", [[], ["a", "b, c"]], ids=["no tags", "tags"])
@pytest.mark.parametrize("end", ["closed", "unlocked", "all closed", "another registered", "re-registered"])
def test_a_registrant_that_was_refused_is_not_refused_once_a_file_can_go(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch, tags: list[str], end: str
) -> None:
    """Also during the pause after a long search that found nothing."""
    monkeypatch.setattr(vain_searches, "LONG_SEARCH_FILES", 0)
    monkeypatch.setattr(vain_searches, "PAUSE_FACTOR", 1e6)
    manager = make_manager(max_bytes=3, quota="evict")
    used = [file(manager, f"used-{n}") for n in range(2)]
    streams = [path.open() for path in used]
    locked = (Path(manager.base_dir) / "used-0").open()
    if end == "unlocked":
        fcntl.flock(locked, fcntl.LOCK_EX)
    manager.register_many(used, tags=tags)
    new = file(manager, "new")
    new.write_bytes(b"xx")
    for _ in range(2):
        with pytest.raises(QuotaExceeded):
            manager.register(new, tags=tags)
    if end == "another registered":
        other = make_manager(max_bytes=3, quota="evict")
        other.register(file(manager, "evictable"), tags=tags)
        new.write_bytes(b"x")
    elif end == "re-registered":
        streams[0].close()
        used[0].unlink()
        manager.register(file(manager, "used-0"), tags=tags)
    else:
        streams[0].close()
        if end == "all closed":
            streams[1].close()
    locked.close()
    assert manager.register(new, tags=tags)
    assert_balanced(manager)
    for stream in streams:
        stream.close()


def test_only_as_many_files_go_as_are_needed_after_many_that_could_not_go(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(max_files=60, quota="evict")
    used = [file(manager, f"used-{n}") for n in range(40)]
    manager.register_many(used)
    clock.advance(1)
    free = [file(manager, f"free-{n}") for n in range(20)]
    manager.register_many(free)
    streams = [path.open() for path in used]
    claimed = manager.stats().total("claimed")
    manager.register(file(manager, "new"))
    for stream in streams:
        stream.close()
    assert sum(not path.exists() for path in free) == 1 + 60 // 20
    assert all(path.exists() for path in used)
    assert manager.stats().total("claimed") - claimed <= 40 + 4
    assert_balanced(manager)


def test_a_pause_looks_at_every_record_in_turn(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no total shows: one hold ended, and another began."""
    monkeypatch.setattr(vain_searches, "LONG_SEARCH_FILES", 0)
    monkeypatch.setattr(vain_searches, "PAUSE_FACTOR", 1e6)
    monkeypatch.setattr(vain_searches, "PAGE", 10)
    manager = make_manager(max_files=201, quota="evict")
    held = file(manager, "held")
    manager.register(held, tags=["a"])
    others = [file(manager, f"other-{n}") for n in range(200)]
    manager.register_many(others, tags=["b"])
    manager.hold(held)
    new = file(manager, "new")
    with pytest.raises(QuotaExceeded):
        manager.register(new, tags=["a"])
    manager.unhold(held)
    manager.hold(others[0])
    for _ in range(200):
        try:
            assert manager.register(new, tags=["a"])
            break
        except QuotaExceeded:
            pass
    assert not held.exists()


def test_making_room_does_not_slow_down_with_the_quarantine(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    limits = {"max_files": 20, "quota": "evict", "quarantine_seconds": 3600, "audit_log": ""}
    settings = Settings.load(base_dir=str(base_dir), redis_url=real_server.unix_url, host="web-1", **limits)
    manager = TempFileManager(settings=settings)
    names = iter(range(100_000))

    def traffic() -> int:
        """Returns the number of bytes that Redis sends for 20 registrations."""
        before = int(real_client.info("stats")["total_net_output_bytes"])
        for _ in range(20):
            manager.register(file(manager, str(next(names))))
        return int(real_client.info("stats")["total_net_output_bytes"]) - before

    traffic()
    few = traffic()
    for _ in range(15):
        traffic()
    assert len(manager.quarantined()) > 300
    assert traffic() < 1.3 * few
    manager.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_waiting_files_have_each_file_once_and_no_quarantined_one(
    make_manager: MakeManager, clock: FakeClock, limit: int
) -> None:
    manager = make_manager(quarantine_seconds=3600)
    manager.register_many([file(manager, f"q{n}") for n in range(5)], ttl=1)
    clock.advance(2)
    manager.cleanup()
    paths = [file(manager, f"f{n}") for n in range(7)]
    manager.register_many(paths[:4], ttl=5)
    manager.register_many(paths[4:], ttl=7200)
    cursor: Cursor | None = Cursor()
    found: list[str] = []
    while cursor is not None:
        now_ms, records, cursor = manager.registry.page(cursor, limit=limit, aside="/.tempfleet-")
        assert records == [manager.get_record(record.path) for record in records]
        found += [record.path for record in records]
    assert now_ms == clock.now_ms
    assert sorted(found) == sorted(map(str, paths))
    assert len(manager.quarantined()) == 5
