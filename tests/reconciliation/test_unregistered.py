"""Files without a record: which are found, which are left alone, and what adopting does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from support import assert_balanced
from tempfleet import InvalidOwner, Outcome, Settings, State, TempFileManager, UnsafePath
from tempfleet.filesystem import inspect
from tempfleet.registry.keys import VOLUME_KEYS, volume_key
from tempfleet.settings.settings import MAX_BATCH
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def write(path: Path, size: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def found_in(manager: TempFileManager, *, idle: float = 0) -> set[str]:
    pages = list(manager.unregistered(idle=idle))
    assert all(0 < len(page) <= MAX_BATCH for page in pages)
    paths = [file.path for page in pages for file in page]
    assert len(paths) == len(set(paths))
    return set(paths)


def test_exactly_the_unregistered_files_are_found(manager: TempFileManager, base_dir: Path) -> None:
    stray = [write(base_dir / "a"), write(base_dir / "deep" / "er" / "b\n\udcff")]
    manager.register(write(base_dir / "registered"))
    manager.hold(manager.register(write(base_dir / "held")).path)
    assert found_in(manager) == set(map(str, stray))


def test_a_directory_that_is_registered_as_a_whole_is_not_entered(
    manager: TempFileManager, base_dir: Path
) -> None:
    made, named = manager.create_dir(), base_dir / "named"
    write(Path(made.path) / "inside")
    write(named / "inside" / "deeper")
    manager.register(named, directory=True)
    assert found_in(manager) == set()


def test_our_own_directories_and_other_volumes_are_not_entered(
    manager: TempFileManager, make_manager: MakeManager, base_dir: Path
) -> None:
    other = make_manager(base_dir / "other")
    other.register(write(base_dir / "other" / "theirs"))
    write(base_dir / "other" / "stray of theirs")
    write(base_dir / f".tempfleet-{os.geteuid()}" / "entry")
    assert found_in(manager) == set()
    assert found_in(other) == {str(base_dir / "other" / "stray of theirs")}


@pytest.mark.parametrize("home", ["redis", "."])
def test_the_embedded_registry_and_our_logs_are_not_found(base_dir: Path, home: str) -> None:
    base_dir.mkdir()
    for name in ("audit.log.1", "workers.log"):
        write(base_dir / name)
    settings = Settings.load(
        base_dir=str(base_dir),
        redis_url=f"embedded://{base_dir / home}",
        audit_log=str(base_dir / "audit.log"),
        log_file=str(base_dir / "workers.log"),
    )
    with contextlib.closing(TempFileManager(settings=settings)) as manager:
        manager.create().close()
        assert (base_dir / home / "server.pid").exists()
        assert found_in(manager) == set()


def test_links_are_not_followed_and_special_files_are_not_found(
    manager: TempFileManager, base_dir: Path, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere" / "file")
    (base_dir / "link").symlink_to(tmp_path / "elsewhere")
    (base_dir / "file-link").symlink_to(tmp_path / "elsewhere" / "file")
    os.mkfifo(base_dir / "fifo")
    assert found_in(manager) == set()


def test_a_file_that_changed_recently_is_left_to_its_user(manager: TempFileManager, base_dir: Path) -> None:
    write(base_dir / "fresh")
    assert found_in(manager) == {str(base_dir / "fresh")}
    assert found_in(manager, idle=60) == set()
    assert manager.adopt().files == []  # max_age is the default


def test_the_search_takes_a_round_trip_for_a_thousand_entries_however_many_directories(
    manager: TempFileManager, base_dir: Path
) -> None:
    for n in range(60):
        write(base_dir / f"job-{n}" / "part")
    manager.registry.stats()  # connects
    before = manager.registry.store.round_trips
    assert len(found_in(manager)) == 60
    assert manager.registry.store.round_trips - before <= 4


def test_after_redis_lost_all_data_the_files_are_adopted_and_deleted_in_time(
    manager: TempFileManager, base_dir: Path, clock: FakeClock, redis_client: redis.Redis
) -> None:
    with manager.create() as made:
        made.write(b"content")
        made.close()
        manager.register(write(base_dir / "named"))
        redis_client.flushall()
        result = manager.adopt(idle=0, ttl=10, tags=["adopted"])
        assert (result.registered, result.failed, result.bytes) == (2, 0, 11)
        assert {record.tags for record in manager.records(state=State.WAITING)} == {("adopted",)}
        assert manager.cleanup() == 0
        clock.advance(11)
        assert manager.cleanup() == 2
    assert_balanced(manager)


def test_a_file_that_cannot_be_registered_is_reported_and_stops_no_other(
    make_manager: MakeManager, base_dir: Path
) -> None:
    manager = make_manager(size_limit_bytes=10)
    write(base_dir / "small"), write(base_dir / "large", size=11)
    result = manager.adopt(idle=0)
    assert {file.path: file.outcome for file in result.files} == {
        str(base_dir / "small"): "registered",
        str(base_dir / "large"): "refused",
    }
    assert (base_dir / "large").exists()


def test_the_search_changes_nothing(
    manager: TempFileManager, base_dir: Path, redis_client: redis.Redis
) -> None:
    path = write(base_dir / "stray")
    path.chmod(0o644)
    store = manager.registry.store
    before = (
        os.stat(path),
        [redis_client.dump(volume_key(store.namespace, manager.volume, name)) for name in VOLUME_KEYS],
    )
    assert found_in(manager) == {str(path)}
    after = (
        os.stat(path),
        [redis_client.dump(volume_key(store.namespace, manager.volume, name)) for name in VOLUME_KEYS],
    )
    assert after == before


def test_a_directory_that_cannot_be_read_hides_no_other(
    manager: TempFileManager, base_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    write(base_dir / "locked" / "file")
    write(base_dir / "open" / "file")
    (base_dir / "locked").chmod(0)
    try:
        assert found_in(manager) == {str(base_dir / "open" / "file")}
    finally:
        (base_dir / "locked").chmod(0o700)
    assert "Did not look for files in" in caplog.text


def test_a_file_that_was_registered_meanwhile_keeps_the_later_deadline(
    manager: TempFileManager, base_dir: Path
) -> None:
    path = write(base_dir / "late")
    (page,) = list(manager.unregistered(idle=0))
    earlier = manager.register(path, ttl=5000)
    manager.register_batch([file.path for file in page], ttl=10)
    record = manager.get_record(path)
    assert record is not None and record.deadline_ms >= earlier.deadline_ms
    assert manager.cleanup_report(force=True).counts[Outcome.DELETED] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees and registers the files of other users")
@pytest.mark.parametrize(
    ("owner", "adopted"),
    [
        (None, ["theirs"]),
        ("any", ["other", "ours", "theirs"]),
        (0, ["ours"]),
        ("root", ["ours"]),
        ("1234", ["other"]),
    ],
)
def test_root_adopts_only_the_files_of_the_base_directorys_owner_unless_another_is_named(
    manager: TempFileManager,
    base_dir: Path,
    caplog: pytest.LogCaptureFixture,
    owner: str | int | None,
    adopted: list[str],
) -> None:
    users = {"theirs": 65534, "other": 1234, "ours": 0}
    for name, uid in users.items():
        path = write(base_dir / "deep" / name)
        os.chown(path, uid, uid)
    os.chown(base_dir, 65534, 65534)
    result = manager.adopt(idle=0, owner=owner)
    assert sorted(Path(file.path).name for file in result.files) == adopted
    assert sorted(Path(record.path).name for record in manager.records()) == adopted
    left = len(users) - len(adopted)
    assert (f"Left out {left} unregistered files in {base_dir}" in caplog.text) == bool(left)
    manager.cleanup(force=True)
    assert sorted(os.listdir(base_dir / "deep")) == sorted(users.keys() - set(adopted))


def test_a_file_that_got_another_owner_meanwhile_is_not_registered(
    manager: TempFileManager, base_dir: Path
) -> None:
    path = write(base_dir / "file")
    path.chmod(0o644)
    with pytest.raises(UnsafePath, match=f"it belongs to uid {os.geteuid()}"):
        inspect(str(path), manager.roots, ttl_ms=1000, uid=os.geteuid() + 1)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("owner", ["no such user", -1, "-1", ""])
def test_an_unknown_owner_is_refused(manager: TempFileManager, owner: str | int) -> None:
    with pytest.raises(InvalidOwner):
        manager.adopt(owner=owner)


def test_adopting_deletes_nothing_to_make_room(make_manager: MakeManager, base_dir: Path) -> None:
    manager = make_manager(max_files=2, quota="evict")
    live = [write(base_dir / name) for name in ("a", "b")]
    for path in live:
        manager.register(path)
    stray = write(base_dir / "stray")
    result = manager.adopt(idle=0)
    assert [(file.path, file.outcome) for file in result.files] == [(str(stray), "refused")]
    assert all(path.exists() for path in (*live, stray))
