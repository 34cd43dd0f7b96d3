"""create() and create_dir() register a file before it exists, and the end of their block deletes it. Nothing leaks."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from support import assert_balanced, entries, python, wait_until
from tempfleet import (
    FileRecord,
    QuotaExceeded,
    RegistryUnavailable,
    Settings,
    State,
    TempFile,
    TempFileManager,
    UnsafePath,
    VolumeUnavailable,
)
from tempfleet.cleanup.preview import CREATION_SECONDS
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def test_a_created_file_is_private_registered_and_in_the_base_directory(
    manager: TempFileManager, base_dir: Path
) -> None:
    with manager.create(prefix="report-", suffix=".csv", ttl=5, tags=["nightly"]) as file:
        path = Path(file.path)
        assert path.parent == base_dir.resolve()
        assert path.name.startswith("report-")
        assert path.suffix == ".csv"
        assert len(path.stem) == len("report-") + 40
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        record = manager.get_record(file)
        assert record is not None
        assert (record.tags, record.state, record.is_created) == (("nightly",), State.WAITING, True)
        assert record.deadline_ms - record.registered_ms == 5000
    assert not path.exists()
    assert len(manager.files) == 0
    assert_balanced(manager)


def test_names_are_never_used_twice(manager: TempFileManager) -> None:
    files = [manager.create() for _ in range(50)]
    assert len({file.path for file in files}) == 50
    for file in files:
        file.close()


def test_the_permission_mask_does_not_depend_on_the_umask(make_manager: MakeManager) -> None:
    manager = make_manager(permission_mask="0640")
    umask = os.umask(0o077)
    try:
        with manager.create() as file, manager.create_dir() as directory:
            assert stat.S_IMODE(os.stat(file).st_mode) == 0o640
            assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    finally:
        os.umask(umask)


def test_a_created_file_is_a_file_object(manager: TempFileManager) -> None:
    with manager.create(mode="w+", encoding="utf-8") as file:
        assert isinstance(file, TempFile)
        file.write("one\ntwo\n")
        file.seek(0)
        assert list(file) == ["one\n", "two\n"]
        assert file.encoding == "utf-8"
        assert isinstance(file.file, io.TextIOWrapper)
        assert file.name == file.path == os.fspath(file)
        assert repr(file) == f"TempFile({file.path!r})"
        assert not file.closed
    assert file.closed
    with pytest.raises(AttributeError):
        _ = file.no_such_thing


def test_a_closed_file_stays_until_its_deadline(manager: TempFileManager, clock: FakeClock) -> None:
    file = manager.create(ttl=60)
    file.write(b"data")
    file.close()
    assert manager.cleanup() == 0
    assert Path(file.path).read_bytes() == b"data"
    clock.advance(60)
    assert manager.cleanup() == 1
    assert not os.path.exists(file)


def test_a_created_directory_is_deleted_with_its_content(manager: TempFileManager) -> None:
    with manager.create_dir(prefix="job-") as directory:
        part = Path(os.path.join(directory, "deep", "part.csv"))
        part.parent.mkdir()
        part.write_text("data")
        assert manager.is_temp_file(directory)
        assert not manager.is_temp_file(part)
    assert not os.path.exists(directory.path)
    assert len(manager.files) == 0


def test_the_block_deletes_the_file_after_an_exception_and_propagates_it(manager: TempFileManager) -> None:
    with pytest.raises(ZeroDivisionError), manager.create() as file:
        raise ZeroDivisionError
    assert not os.path.exists(file.path)


def test_a_file_that_is_moved_in_the_block_stays(manager: TempFileManager, base_dir: Path) -> None:
    with manager.create() as file:
        file.write(b"result")
        file.flush()
        os.rename(file, base_dir / "result")
    assert (base_dir / "result").read_bytes() == b"result"
    assert len(manager.files) == 0
    assert manager.stats().total("missing") == 1


@pytest.mark.parametrize(
    "arguments", [{"mode": "w+q"}, {"mode": "w+b", "encoding": "utf-8"}, {"mode": "w", "encoding": "no-such"}]
)
def test_an_invalid_mode_leaves_no_file_and_no_record(
    manager: TempFileManager, base_dir: Path, arguments: dict[str, str]
) -> None:
    open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises((ValueError, LookupError)):
        manager.create(**arguments)
    assert entries(base_dir) == []
    assert len(manager.files) == 0
    assert_balanced(manager)
    if open_files:
        assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_file_that_cannot_be_created_leaves_no_record(manager: TempFileManager, base_dir: Path) -> None:
    for create in (manager.create, manager.create_dir):
        with pytest.raises(OSError, match="File name too long"):
            create(prefix="x" * 300)
    assert len(manager.files) == 0
    assert manager.stats().total("missing") == 2
    assert_balanced(manager)


@pytest.mark.parametrize("part", ["a/b", "../x", "a\0b", "\ud800"])
def test_an_invalid_prefix_or_suffix_is_refused_before_registration(
    manager: TempFileManager, base_dir: Path, part: str
) -> None:
    for kwargs in ({"prefix": part}, {"suffix": part}):
        with pytest.raises(UnsafePath):
            manager.create(**kwargs)
    assert manager.stats().total("registered") == 0
    assert entries(base_dir) == []


def test_without_the_base_directory_nothing_is_created_or_registered(
    manager: TempFileManager, base_dir: Path
) -> None:
    base_dir.rename(base_dir.with_name("away"))
    for create in (manager.create, manager.create_dir):
        with pytest.raises(VolumeUnavailable):
            create()
    assert list(base_dir.with_name("away").iterdir()) == []
    assert manager.stats().total("registered") == 0


def test_without_redis_nothing_is_created(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        manager.create().close()
    with pytest.raises(RegistryUnavailable):
        manager.create()
    assert len(list((tmp_path / "base").iterdir())) == 1
    manager.close()


def test_a_created_file_is_measured_when_it_is_closed(manager: TempFileManager) -> None:
    file = manager.create(tags=["report"])
    file.write(b"12345")
    assert manager.stats().bytes == 0
    file.close()
    file.close()
    record = manager.get_record(file)
    assert record is not None and (record.size_bytes, record.flags) == (5, "c")
    assert (manager.stats().bytes, manager.registry.tag_totals()["report"].bytes) == (5, 5)
    assert manager.clear_all() == 1
    assert manager.stats().bytes == 0
    assert_balanced(manager)


def test_the_bytes_of_created_files_count_against_a_limit(make_manager: MakeManager) -> None:
    manager = make_manager(max_bytes=10, quota="reject")
    file = manager.create()
    file.write(bytes(11))
    file.close()
    other = Path(manager.base_dir) / "other"
    other.write_bytes(b"1")
    with pytest.raises(QuotaExceeded):
        manager.register(other)


def test_a_file_that_is_deleted_at_the_end_of_its_block_is_not_measured(manager: TempFileManager) -> None:
    def round_trips(close: bool) -> int:
        before = manager.registry.store.round_trips
        with manager.create() as file:
            if close:
                file.close()
        return manager.registry.store.round_trips - before

    # The first call also connects.
    round_trips(close=False)
    assert round_trips(close=True) == round_trips(close=False) + 1


def test_a_file_can_be_closed_without_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        file = manager.create()
        file.write(b"12345")
    file.close()
    assert Path(file.path).read_bytes() == b"12345"
    assert "could not be recorded" in caplog.text
    manager.close()


def test_a_read_only_mode_is_refused_and_registers_nothing(
    manager: TempFileManager,
) -> None:
    with pytest.raises(ValueError, match="only reads"):
        manager.create(mode="rb")
    assert len(manager.files) == 0


# -- between registration and creation


def making(manager: TempFileManager, meanwhile: Callable[[str], object]) -> TempFile[bytes]:
    """Creates a file, and calls *meanwhile* after its registration and before it exists."""
    new = manager._creator.new_file("", "", 3600, (), flags="c")

    def make(name: str) -> io.BufferedRandom:
        meanwhile(new.path)
        return open(new.path, "x+b")

    return TempFile(
        register=lambda created: manager._registrar.register_created(new, created),
        make=make,
        identify=lambda record: record,
        unmake=manager._creator.unmake,
        delete=manager._creator.delete,
        measured=lambda record, size: None,
    )


def test_a_clean_up_before_the_file_exists_keeps_its_record(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock
) -> None:
    other = make_manager()
    file = making(manager, lambda path: other.clear_all())
    file.close()
    assert manager.is_temp_file(file)
    clock.advance(3600)
    assert other.cleanup() == 1
    assert not os.path.exists(file)
    assert_balanced(manager)


def test_dropping_missing_records_before_the_file_exists_keeps_its_record(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock
) -> None:
    other = make_manager()

    def drop_missing(path: str) -> None:
        other.files = {}

    file = making(manager, drop_missing)
    file.close()
    assert manager.is_temp_file(file)


def test_a_delayed_creator_registers_again(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock
) -> None:
    other = make_manager()

    def be_held_up(path: str) -> None:
        clock.advance(3600 + CREATION_SECONDS)
        assert other.cleanup_report().counts["missing"] == 1
        assert not manager.is_temp_file(path)
        with pytest.raises(AssertionError):
            wait_until(lambda: False, timeout=CREATION_SECONDS / 2)

    file = making(manager, be_held_up)
    file.close()
    assert manager.is_temp_file(file)
    clock.advance(3600)
    assert other.cleanup() == 1
    assert_balanced(manager)


def test_an_exception_during_creation_leaves_no_file_and_no_record(
    manager: TempFileManager, base_dir: Path
) -> None:
    class TimeIsUp(BaseException):
        pass

    def before(path: str) -> None:
        raise TimeIsUp

    def after(path: str) -> None:
        Path(path).touch()
        raise TimeIsUp

    for meanwhile in (before, after):
        with pytest.raises(TimeIsUp):
            making(manager, meanwhile)
        assert entries(base_dir) == []
        assert len(manager.files) == 0
    assert_balanced(manager)


CREATOR = """
import os, signal, sys
from tempfleet import TempFileManager
manager = TempFileManager(sys.argv[1], redis_url=sys.argv[2], host="web-1")
before = sys.argv[3] == "before"

def die(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("dying-"):
        os.kill(os.getpid(), signal.SIGKILL)

manager.stats()
if before:
    sys.addaudithook(die)
    manager.create(prefix="dying-", ttl=0.01)
else:
    manager.create(prefix="dying-", ttl=0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_killed_during_creation_leaks_nothing(
    real_client: redis.Redis, real_server: EmbeddedServer, base_dir: Path, when: str
) -> None:
    creator = python(CREATOR, base_dir, real_server.unix_url, when, stderr=subprocess.PIPE)
    assert creator.wait(30) == -signal.SIGKILL, creator.communicate()
    creator.communicate()
    settings = Settings.load(base_dir=str(base_dir), host="web-1", retry_delay_seconds=0.1)
    manager = TempFileManager(settings=settings, client=real_client)
    assert len(manager.files) == 1
    assert len(entries(base_dir)) == (0 if when == "before" else 1)
    wait_until(lambda: manager.cleanup_report().finished and len(manager.files) == 0)
    assert entries(base_dir) == []
    assert manager.stats().total("missing" if when == "before" else "deleted") == 1
    assert_balanced(manager)
    manager.close()


def test_creating_takes_one_round_trip(
    real_client: redis.Redis, base_dir: Path, real_server: EmbeddedServer
) -> None:
    manager = TempFileManager(base_dir, client=real_client)
    manager.create().close()

    def script_calls() -> int:
        stats = real_client.info("commandstats")
        return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))

    before = script_calls()
    files = [manager.create() for _ in range(10)]
    assert script_calls() - before == 10
    for file in files:
        file.close()
    manager.close()


def test_a_created_file_has_its_record(manager: TempFileManager) -> None:
    with manager.create() as file:
        assert isinstance(file.record, FileRecord)
        assert file.record.as_dict()["path"] == file.path
