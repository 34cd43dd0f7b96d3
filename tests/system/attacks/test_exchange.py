"""
Compression in place is attacked: kill -9 between every two steps, readers, deletions, foreign files with the name.
The laws: the file is whole at every moment, its record deletes it, nothing is left over, no foreign file is changed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
import zstandard

from deletion_support import attacker, exchange, file_system, needs_linux, needs_root
from support import assert_balanced, python, wait_until
from tempfleet import FileRecord, RegistryDenied, Settings, TempFileManager, TempfleetError
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.settings.settings import InUse

pytestmark = needs_linux

POINTS = [point for point in faults.POINTS if point.startswith("exchange.")]
CONTENT = b"a line that repeats itself\n" * 40_000
LONG_AGO = 1_000_000_000

at_every_point = pytest.mark.parametrize("point", POINTS)
MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def make(real_server: EmbeddedServer, real_client: object, tmp_path: Path) -> Iterator[MakeManager]:
    """Creates managers of one volume on a real Redis. A forked child creates its own."""
    (tmp_path / "data").mkdir()
    managers: list[TempFileManager] = []

    def create(**values: object) -> TempFileManager:
        options: dict[str, object] = {
            "compress_after_seconds": 0.001,
            "in_use": InUse.DELETE,
            "allowed_roots": (str(tmp_path / "data"),),
            **values,
        }
        settings = Settings(
            base_dir=str(tmp_path / "base"),
            redis_url=real_server.unix_url,
            host="web-1",
            audit_log=str(tmp_path / "audit.log"),
            **options,
        )
        managers.append(TempFileManager(settings=settings))
        return managers[-1]

    yield create
    for manager in managers:
        manager.close()


@pytest.fixture
def manager(make: MakeManager) -> TempFileManager:
    return make()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data" / "file"


def an_idle_file(manager: TempFileManager, path: Path, content: bytes = CONTENT) -> FileRecord:
    path.write_bytes(content)
    os.utime(path, (LONG_AGO, LONG_AGO))
    record = manager.register(path, compress=True, tags=["report"])
    while manager.registry.now_ms() <= record.registered_ms + 1:
        pass  # registering also counts as a use
    return record


def an_idle_created_file(manager: TempFileManager) -> FileRecord:
    with manager.create(compress=True).made as file:
        file.write(CONTENT)
    os.utime(file.name, (LONG_AGO, LONG_AGO))
    record = manager.get_record(file.name)
    assert record is not None
    while manager.registry.now_ms() <= record.registered_ms + 1:
        pass
    return record


def assert_compressed(manager: TempFileManager, path: Path) -> None:
    """Checks that the file was compressed once, and that its record and the totals are right."""
    assert content_of(manager, path) == CONTENT
    assert path.stat().st_size < len(CONTENT) // 10
    assert left_over(manager) == []
    record = manager.get_record(path)
    assert record is not None and record.is_compressed and "+" not in record.identity
    stats = manager.stats()
    assert record.size_bytes == stats.bytes == path.stat().st_size
    assert stats.total("compressed") == 1
    assert stats.total("compression_saved_bytes") > len(CONTENT) // 2
    assert_balanced(manager)


def content_of(manager: TempFileManager, path: Path) -> bytes:
    with manager.open(path) as file:
        content: bytes = file.read()
        return content


def left_over(manager: TempFileManager) -> list[str]:
    return [name for root in manager.roots for name in root.private.names() if name != "clock.json"]


def in_a_child(work: Callable[[], object]) -> int | None:
    """Runs *work* in a child process and returns its exit code."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    return process.exitcode


def killed_at(point: str, make: MakeManager, work: Callable[[TempFileManager], object]) -> None:
    def child() -> None:
        def die(reached: str) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        faults.install(die)
        work(make())

    assert in_a_child(child) == -signal.SIGKILL


@contextmanager
def at(point: str, work: Callable[[], object]) -> Iterator[list[str]]:
    """Calls *work* once, when *point* is reached."""
    reached: list[str] = []

    def hook(here: str) -> None:
        if here == point and here not in reached:
            reached.append(here)
            work()

    faults.install(hook)
    try:
        yield reached
    finally:
        faults.install(None)


@at_every_point
@pytest.mark.parametrize("created", [False, True], ids=["registered", "created"])
@pytest.mark.parametrize("next_comes", ["a deletion", "a compressor"])
def test_a_killed_compressor_leaves_a_whole_file_that_is_still_deleted(
    make: MakeManager, manager: TempFileManager, path: Path, point: str, created: bool, next_comes: str
) -> None:
    record = an_idle_created_file(manager) if created else an_idle_file(manager, path)
    file = Path(record.path)
    killed_at(point, make, TempFileManager.compress_idle)
    assert content_of(manager, file) == CONTENT
    after = manager.get_record(file)
    assert after is not None
    assert (after.registered_ms, after.deadline_ms) == (record.registered_ms, record.deadline_ms)
    if next_comes == "a compressor":
        manager.compress_idle()
        assert left_over(manager) == []
        manager.compress_idle()
        assert_compressed(manager, file)
    report = make().cleanup_report(force=True)
    assert (report.deleted, sum(report.counts.values())) == (1, 1)
    assert not file.exists()
    assert left_over(manager) == []
    assert manager.stats().bytes == 0
    assert_balanced(manager)


@at_every_point
def test_a_killed_decompression_leaves_a_whole_file_that_can_be_unregistered(
    make: MakeManager, manager: TempFileManager, path: Path, point: str
) -> None:
    an_idle_file(manager, path)
    manager.compress_idle()
    killed_at(point, make, lambda manager: manager.unregister(path))
    assert content_of(manager, path) == CONTENT
    manager.compress_idle()
    assert left_over(manager) == []
    manager.unregister(path)
    totals = manager.stats()
    assert totals.total("compressed") == totals.total("decompressed") >= 1
    assert path.read_bytes() == CONTENT
    assert left_over(manager) == []
    assert manager.get_record(path) is None
    assert_balanced(manager)


@at_every_point
def test_a_deletion_during_compression_deletes_the_file_once(
    make: MakeManager, manager: TempFileManager, path: Path, point: str
) -> None:
    an_idle_file(manager, path)
    other = make()
    with at(point, other.clear_all) as reached:
        manager.compress_idle()
    assert reached
    assert not path.exists()
    assert left_over(manager) == []
    stats = manager.stats()
    assert (stats.total("deleted"), stats.active, stats.bytes) == (1, 0, 0)
    assert manager.registry.tag_totals() == {}
    assert_balanced(manager)


@at_every_point
def test_a_deletion_that_keeps_files_in_use_deletes_the_file_later(
    make: MakeManager, manager: TempFileManager, path: Path, point: str
) -> None:
    an_idle_file(manager, path)
    other = make(in_use=InUse.KEEP)
    with at(point, other.clear_all) as reached:
        manager.compress_idle()
    assert reached
    other.clear_all()
    assert not path.exists()
    assert left_over(manager) == []
    stats = manager.stats()
    assert (stats.total("deleted"), stats.active, stats.bytes) == (1, 0, 0)
    assert_balanced(manager)


@at_every_point
def test_a_file_can_be_renewed_held_and_registered_during_compression(
    make: MakeManager, manager: TempFileManager, path: Path, point: str
) -> None:
    an_idle_file(manager, path)
    other = make()

    def use() -> None:
        other.renew(path, ttl=7200)
        other.register(path, ttl=9000, compress=True, tags=["other"])
        other.hold(path)
        other.unhold(path)

    with at(point, use):
        manager.compress_idle()
    assert_compressed(manager, path)
    record = manager.get_record(path)
    assert record is not None
    assert record.deadline_ms - record.registered_ms == 9_000_000
    assert manager.registry.tag_totals()["other"].bytes == path.stat().st_size
    manager.unregister(path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("point", ["exchange.written", "exchange.promised", "exchange.swapped"])
@needs_root
@pytest.mark.parametrize("what", ["mode", "times", "owner"])
def test_changed_attributes_of_a_file_are_kept_during_compression(
    manager: TempFileManager, path: Path, point: str, what: str
) -> None:
    an_idle_file(manager, path)
    held = os.open(path, os.O_PATH)
    same = f"/proc/self/fd/{held}"
    change = {
        "mode": lambda: os.chmod(same, 0o400),
        "times": lambda: os.utime(same, (LONG_AGO, LONG_AGO + 1)),
        "owner": lambda: os.chown(same, -1, 1234),
    }[what]
    with at(point, change):
        assert dict(manager.compress_idle().kept) == {"changed": 1}
    status = os.stat(same)
    assert status == path.stat()
    assert (status.st_mode & 0o777, status.st_mtime, status.st_gid) == {
        "mode": (0o400, LONG_AGO, os.getegid()),
        "times": (0o600, LONG_AGO + 1, os.getegid()),
        "owner": (0o600, LONG_AGO, 1234),
    }[what]
    assert path.read_bytes() == CONTENT
    assert left_over(manager) == []
    os.close(held)


@at_every_point
def test_a_foreign_file_that_takes_the_name_stays(
    make: MakeManager, manager: TempFileManager, path: Path, point: str
) -> None:
    an_idle_file(manager, path)

    def replace() -> None:
        other = path.with_name("other")
        other.write_bytes(b"precious")
        other.rename(path)

    with at(point, replace):
        manager.compress_idle()
    assert path.read_bytes() == b"precious"
    assert left_over(manager) == []
    report = make().cleanup_report(force=True)
    assert (report.deleted, path.read_bytes()) == (0, b"precious")


def test_a_file_that_has_the_name_for_an_instant_is_not_compressed(
    manager: TempFileManager, path: Path
) -> None:
    an_idle_file(manager, path)
    aside, other = path.with_name("aside"), path.with_name("other")
    other.write_bytes(b"precious" * 100_000)

    def swap() -> None:
        path.rename(aside)
        other.rename(path)

    def swap_back() -> None:
        path.rename(other)
        aside.rename(path)

    made = []
    hooks = {"exchange.found": swap, "exchange.made": lambda: (made.append(1), swap_back())}
    faults.install(lambda point: hooks.get(point, lambda: None)())
    try:
        assert dict(manager.compress_idle().kept) == {"replaced": 1}
    finally:
        faults.install(None)
    assert made == []
    swap_back()
    assert path.read_bytes() == CONTENT
    assert other.read_bytes() == b"precious" * 100_000


def killed_with_a_stranger_in_hand(make: MakeManager, path: Path) -> None:
    """Kills a compressor after it exchanged names with a foreign file that replaced *path* in the meantime."""

    def child() -> None:
        def reached(point: str) -> None:
            if point == "exchange.promised":
                path.unlink()
                path.write_bytes(b"precious")
            if point == "exchange.swapped":
                os.kill(os.getpid(), signal.SIGKILL)

        faults.install(reached)
        make().compress_idle()

    assert in_a_child(child) == -signal.SIGKILL


def test_a_foreign_file_moved_by_a_killed_compressor_is_returned(
    make: MakeManager, manager: TempFileManager, path: Path
) -> None:
    an_idle_file(manager, path)

    killed_with_a_stranger_in_hand(make, path)
    make().clear_all()
    assert path.read_bytes() == b"precious"
    assert left_over(manager) == []


def test_a_foreign_file_is_returned_once_its_directory_is_back(
    make: MakeManager, manager: TempFileManager, path: Path
) -> None:
    inside = path.with_name("directory") / "file"
    inside.parent.mkdir()
    an_idle_file(manager, inside)

    killed_with_a_stranger_in_hand(make, inside)
    away = inside.parent.rename(path.with_name("away"))
    make().cleanup()
    away.rename(inside.parent)
    make().cleanup()
    assert inside.read_bytes() == b"precious"
    assert left_over(manager) == []


@pytest.mark.parametrize("how", ["open", "mapped", "written"])
def test_a_file_that_a_process_uses_is_never_compressed(
    manager: TempFileManager, path: Path, how: str
) -> None:
    an_idle_file(manager, path)
    code = {
        "open": "file = open(sys.argv[1])",
        "written": "file = open(sys.argv[1], 'r+b')",
        "mapped": "f = os.open(sys.argv[1], os.O_RDONLY); m = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f)",
    }[how]
    user = python(f"import mmap, os, sys; {code}; print('ready', flush=True); sys.stdin.read()", path)
    try:
        assert user.stdout is not None and user.stdout.readline() == "ready\n"
        report = manager.compress_idle()
        assert (report.compressed, dict(report.kept)) == (0, {"open": 1})
        assert path.read_bytes() == CONTENT
    finally:
        user.communicate("")
    assert manager.compress_idle().compressed == 1


def test_opening_a_file_stops_its_compression(
    make: MakeManager, manager: TempFileManager, path: Path
) -> None:
    an_idle_file(manager, path)
    readers = []

    def read() -> None:
        code = "import sys; print('ready', flush=True); sys.stdout.write(str(len(open(sys.argv[1]).read())))"
        reader = python(code, path)
        readers.append(reader)
        assert reader.stdout is not None
        reader.stdout.readline()
        wait_until(lambda: _waits_for_a_lease(reader.pid))

    with at("exchange.promised", read):
        report = manager.compress_idle()
    assert (report.compressed, dict(report.kept)) == (0, {"open": 1})
    assert readers[0].communicate()[0] == str(len(CONTENT))
    assert left_over(manager) == []
    record = manager.get_record(path)
    assert record is not None and not record.is_compressed
    manager.unregister(path)


def _waits_for_a_lease(pid: int) -> bool:
    return "lease" in Path(f"/proc/{pid}/wchan").read_text()


def test_readers_see_the_same_content_at_every_moment(
    make: MakeManager, manager: TempFileManager, path: Path
) -> None:
    an_idle_file(manager, path)
    context = multiprocessing.get_context("fork")
    stop, reads = context.Event(), context.Value("i", 0)

    def read() -> None:
        mine = make()
        while not stop.wait(0.02):  # long enough to be unused for a moment
            assert content_of(mine, path) == CONTENT
            reads.value += 1

    reader = context.Process(target=read)
    reader.start()
    changes = 0
    try:
        while reads.value < 30 or changes < 10:
            assert reader.is_alive()
            if manager.compress_idle().compressed:
                changes += 1
                manager.decompress(path)
            os.utime(path, (LONG_AGO, LONG_AGO))
    finally:
        stop.set()
        reader.join(20)
    assert reader.exitcode == 0
    assert content_of(manager, path) == CONTENT
    assert left_over(manager) == []
    assert_balanced(manager)


def test_two_concurrent_compressors_compress_a_file_once(
    make: MakeManager, manager: TempFileManager, path: Path
) -> None:
    an_idle_file(manager, path)
    other = make()
    for point in POINTS:
        with at(point, other.compress_idle):
            manager.compress_idle()
    manager.compress_idle()
    assert_compressed(manager, path)


def test_without_exchange_of_names_no_file_is_compressed(
    manager: TempFileManager, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    an_idle_file(manager, path)
    second = path.with_name("second")
    an_idle_file(manager, second)
    manager.roots.system = System(Capabilities(**{**_capabilities(), "renameat2": False}))
    report = manager.compress_idle()
    assert dict(report.kept) == {"no-exchange": 2}
    assert caplog.text.count("cannot exchange names") == 1
    assert path.read_bytes() == CONTENT
    assert left_over(manager) == []
    manager.unregister(path)


def _capabilities() -> dict[str, bool]:
    return {name: True for name in ("openat2", "statx", "handles", "write_locks")}


@pytest.mark.parametrize("point", ["exchange.written", "exchange.promised", "exchange.swapped"])
def test_an_error_of_redis_leaves_a_whole_file_and_a_record_that_deletes_it(
    manager: TempFileManager, path: Path, real_client: redis.Redis, point: str
) -> None:
    an_idle_file(manager, path)

    def scripts(allowed: str) -> None:
        real_client.execute_command("ACL", "SETUSER", "default", f"{allowed}evalsha", f"{allowed}eval")

    try:
        with at(point, lambda: scripts("-")), pytest.raises(RegistryDenied):
            manager.compress_idle()
    finally:
        scripts("+")
    assert content_of(manager, path) == CONTENT
    assert left_over(manager) == []
    assert manager.clear_all() == 1
    assert not path.exists()
    assert_balanced(manager)


@needs_root
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_file_is_compressed_on_every_file_system(make: MakeManager, tmp_path: Path, kind: str) -> None:
    with file_system(kind, tmp_path / "disk") as disk:
        manager = make(allowed_roots=(str(disk),))
        path = disk / "file"
        an_idle_file(manager, path)
        os.chown(path, 1234, 1234)
        manager.register(path, compress=True)
        os.utime(path, (LONG_AGO, LONG_AGO))
        wait_until(lambda: manager.compress_idle().compressed)
        assert_compressed(manager, path)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)
        manager.unregister(path)
        assert path.read_bytes() == CONTENT
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)
        manager.close()


@pytest.mark.parametrize("attack", ["exchange", "rename", "link"])
def test_swapping_names_during_compression_loses_no_file(
    manager: TempFileManager, path: Path, attack: str
) -> None:
    """A real process swaps as fast as it can. The other file never changes, and the registered one is always whole."""
    other, away = path.with_name("other"), path.with_name("away")
    other.write_bytes(b"precious" * 100_000)
    precious = os.open(other, os.O_PATH)
    an_idle_file(manager, path)
    identity = other.stat().st_ino

    def swap() -> None:
        if attack == "exchange":
            exchange(path, other)
        elif attack == "rename":
            path.rename(away)
            away.rename(path)
        else:
            away.unlink(missing_ok=True)
            os.link(path, away)

    with attacker(swap):
        for _ in range(300):
            manager.compress_idle()
            with suppress(TempfleetError, OSError):
                manager.decompress(path)
            for name in (path, other):
                with suppress(FileNotFoundError):
                    os.utime(name, (LONG_AGO, LONG_AGO))
            assert os.fstat(precious).st_nlink == 1
    os.close(precious)
    away.unlink(missing_ok=True)
    contents = {content_of(manager, name) for name in path.parent.iterdir() if name.is_file()}
    assert contents == {CONTENT, b"precious" * 100_000}
    assert {name.stat().st_ino for name in (path, other)} >= {identity}
    assert left_over(manager) == []


@needs_root
def test_a_compression_bomb_does_not_fill_the_disk(make: MakeManager, tmp_path: Path) -> None:
    """The owner of a file controls its content, so a few bytes that decompress to many must not fill the disk."""
    with file_system("tmpfs", tmp_path / "disk") as disk:
        manager = make(allowed_roots=(str(disk),))
        path = disk / "file"
        an_idle_file(manager, path)
        assert manager.compress_idle().compressed == 1
        record = manager.get_record(path)
        assert record is not None
        own, size = record.identity, 1 << 30
        text = f"tempfleet 1 {size} {own}\n".encode()
        bomb = zstandard.compress(bytes(size))
        path.write_bytes(struct.pack("<II", 0x184D2A5B, len(text)) + text + bomb)
        made: list[str] = []
        with at("exchange.made", lambda: made.append("made")), pytest.raises(OSError, match="No space left"):
            manager.unregister(path)
        assert made == []
        assert manager.is_temp_file(path)
        manager.close()
