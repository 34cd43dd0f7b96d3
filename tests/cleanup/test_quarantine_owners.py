"""Whose quarantine it is: that of other registries is left alone, and cleaners of several share the limit."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import fakeredis
import pytest
import redis

from conftest import MakeManager
from deletion_support import mounted, needs_root
from processes import files_in
from support import assert_balanced
from tempfleet import Settings, TempFileManager
from tempfleet.deletion import companion
from tempfleet.diagnostics import diagnose
from tempfleet.embedded import EmbeddedServer
from tempfleet.filesystem import ASIDE, Entry, digest_of
from tempfleet.registry import PAUSE_SECONDS
from tempfleet.testing import FakeClock

GRACE = 600


def due(manager: TempFileManager, clock: FakeClock, path: Path) -> Path:
    path.write_text("hello")
    manager.register(path, ttl=5)
    clock.advance(6)
    return path


@contextmanager
def another_registry(
    kind: str, base_dir: Path, tmp_path: Path, clock: FakeClock, client: redis.Redis
) -> Iterator[TempFileManager]:
    """A manager that sees the same disk, with another registry and another time in quarantine."""
    with ExitStack() as stack:
        values: dict[str, object] = {"base_dir": str(base_dir), "host": "web-1", "quarantine_seconds": 1}
        if kind == "redis":
            client = fakeredis.FakeRedis()
        elif kind == "database":
            where = client.connection_pool.connection_kwargs
            if "path" in where:
                client = redis.Redis(unix_socket_path=where["path"], db=1)
            else:
                client = fakeredis.FakeRedis(host=where["host"], db=1)
        elif kind == "mount path":
            values["base_dir"] = str(
                stack.enter_context(mounted(["--bind", str(base_dir)], tmp_path / "mount"))
            )
        elif kind == "namespace":
            values["namespace"] = "other"
        elif kind == "host":
            values["host"] = "web-2"
        manager = TempFileManager(settings=Settings.load(**values), client=client, clock=clock)
        stack.callback(manager.close)
        yield manager


@needs_root
@pytest.mark.parametrize("kind", ["redis", "database", "namespace", "host", "mount path"])
@pytest.mark.parametrize(
    "lost", [False, True], ids=["its own registry is alive", "redis lost the data of its own"]
)
def test_the_quarantine_of_another_registry_is_never_purged_and_is_reported(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, tmp_path: Path, kind: str, lost: bool
) -> None:
    """With another time in quarantine, and whatever becomes of its own registry."""
    manager = make_manager(quarantine_seconds=GRACE)
    path = due(manager, clock, base_dir / "a")
    manager.cleanup()
    (aside,) = manager.quarantined()
    if lost:
        manager.store.client.flushall()
    for _ in range(3):
        with another_registry(kind, base_dir, tmp_path, clock, manager.store.client) as other:
            other.create(ttl=5).close()
            clock.advance(GRACE)
            other.cleanup()
            other.clear_all()
            other.purge_quarantine()
            findings = list(diagnose(other.registry, other.settings))
    (finding,) = [finding for finding in findings if finding.check == "private directory"]
    assert "1 file of another registry" in finding.said and str(path) in finding.said
    assert Path(aside.aside_path).read_text() == "hello"
    if lost:
        make_manager(quarantine_seconds=GRACE).cleanup()
        assert Path(aside.aside_path).read_text() == "hello", "until a person takes it over"
        assert make_manager().adopt_quarantine() == [aside]
    for _ in range(2):
        make_manager(quarantine_seconds=GRACE).cleanup()
        clock.advance(PAUSE_SECONDS)
    assert files_in(base_dir) == []
    assert_balanced(manager)


SECOND_POD = """
import json, sys
from tempfleet import Settings, TempFileManager
from tempfleet.testing import FakeClock

settings = Settings.load(base_dir=sys.argv[1], redis_url=sys.argv[2], host="web-1", quarantine_seconds=1)
clock = FakeClock()
manager = TempFileManager(settings=settings, clock=clock)
manager.create().close()
for _ in range(3):
    manager.cleanup()
    manager.purge_quarantine()
    clock.advance(700)
health = manager.health_check()
problems = health.get("problems", [])
print(json.dumps({"server": manager.store.server, "status": health["status"], "problems": problems}))
"""


@needs_root
@pytest.mark.process
def test_two_redis_with_the_same_names_and_address_purge_nothing_of_each_other(
    base_dir: Path, tmp_path: Path
) -> None:
    """As localhost in two pods that share a disk: here one socket's path is another server in another namespace."""
    with EmbeddedServer.start(tmp_path / "one") as one, EmbeddedServer.start(tmp_path / "two") as two:
        settings = Settings.load(
            base_dir=str(base_dir), redis_url=one.unix_url, host="web-1", quarantine_seconds=GRACE
        )
        manager = TempFileManager(settings=settings)
        base_dir.mkdir(exist_ok=True)
        (base_dir / "a").write_text("hello")
        manager.register(base_dir / "a")
        manager.clear_all()
        (aside,) = manager.quarantined()
        sockets = [server.unix_url.removeprefix("unix://").partition("?")[0] for server in (two, one)]
        script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5" "$6"'
        pod = subprocess.run(
            [
                "unshare",
                "-m",
                "sh",
                "-c",
                script,
                "sh",
                *sockets,
                sys.executable,
                SECOND_POD,
                base_dir,
                one.unix_url,
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        if "mount" in pod.stderr or "unshare" in pod.stderr:
            pytest.skip(pod.stderr)
        assert pod.returncode == 0, pod.stderr
        seen = json.loads(pod.stdout)
        assert seen["server"] == manager.store.server
        assert Path(aside.aside_path).read_text() == "hello"
        (problem,) = [problem for problem in seen["problems"] if problem["code"] == "namesake"]
        assert seen["status"] == "degraded" and "adopt --quarantine" in problem["todo"]
        assert manager.purge_quarantine().deleted == 1
        assert not Path(aside.aside_path).exists()
        with closing(TempFileManager(settings=settings)) as later:
            later.cleanup()
            assert later.stats().pause is None, "it lost nothing"
        manager.close()


def test_an_adopted_quarantine_keeps_its_ends_and_is_reported_no_more(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager = make_manager(quarantine_seconds=GRACE)
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    manager.store.client.flushall()
    later = make_manager(quarantine_seconds=10 * GRACE)
    later.cleanup()

    def problems() -> list[str]:
        return [each["text"] for each in later.health_check()["problems"] if each["code"] == "namesake"]

    (problem,) = problems()
    assert "1 quarantined file" in problem
    assert [file.path for file in later.adoptable_quarantine()] == [str(base_dir / "a")]
    later.adopt_quarantine()
    assert later.adopt_quarantine() == later.adoptable_quarantine() == []
    assert problems() == []
    later.cleanup()
    clock.advance(GRACE - 1)
    assert later.cleanup() == 0
    clock.advance(2)
    assert later.cleanup() == 1
    assert_balanced(later)


def test_a_quarantined_file_whose_record_redis_lost_stays_until_its_recorded_end(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """Also if the time in quarantine is shorter or longer by then."""
    manager = make_manager(quarantine_seconds=GRACE)
    due(manager, clock, base_dir / "a")
    manager.cleanup()
    manager.store.client.flushall()
    make_manager().adopt_quarantine()
    for grace in (1, 10 * GRACE):
        later = make_manager(quarantine_seconds=grace)
        assert later.cleanup() == 0
        clock.advance(GRACE / 2 - 1)
        assert later.cleanup() == 0
    clock.advance(2)
    assert later.cleanup() == 1
    assert files_in(base_dir) == []


def _quarantine_all(base_dir: str, socket: str, number: int, limit: int) -> None:
    settings = Settings.load(
        base_dir=base_dir, host=f"web-{number}", quarantine_seconds=GRACE, quarantine_max_bytes=limit
    )
    manager = TempFileManager(settings=settings, redis_url=socket)
    manager.cleanup(force=True)
    manager.close()


@pytest.mark.process
def test_concurrent_cleaners_never_exceed_the_limit_of_the_quarantine(
    base_dir: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    """Six processes, each with files of its own, on one disk."""
    size, limit = 1000, 50_000
    for number in range(6):
        settings = Settings.load(base_dir=str(base_dir), host=f"web-{number}")
        manager = TempFileManager(settings=settings, client=real_client)
        paths = [base_dir / f"{number}-{n}" for n in range(60)]
        for path in paths:
            path.write_bytes(b"x" * size)
        manager.register_many(paths, ttl=500)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_quarantine_all, args=(str(base_dir), real_server.unix_url, n, limit))
        for n in range(6)
    ]
    most = 0
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        most = max(most, sum(entry.size_bytes for entry in manager.roots.base.private.entries()))
    assert [process.exitcode for process in processes] == [0] * 6
    assert sum(file.size_bytes for file in manager.quarantined()) == limit
    assert most <= limit + 6 * size, "with the files that are on their way there"
    assert [path.name for path in base_dir.iterdir() if not path.name.startswith(".")] == []


def quarantine(manager: TempFileManager, clock: FakeClock, size: int, *names: str) -> None:
    paths = [Path(manager.base_dir) / name for name in names]
    for path in paths:
        path.write_bytes(b"x" * size)
    manager.register_many(paths, ttl=1)
    clock.advance(2)
    manager.cleanup()


def test_room_that_a_crash_left_reserved_is_counted_again(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    """A cleaner reserves the room, and is killed before it writes the companion."""
    manager = make_manager(quarantine_seconds=GRACE, quarantine_max_bytes=3000)
    private = manager.roots.base.private
    private.open()
    Path(private.path, "quarantine.bytes").write_text(f"{3000:020}\n")
    quarantine(manager, clock, 1000, "a")
    assert sum(file.size_bytes for file in manager.quarantined()) == 1000


def test_room_that_is_given_back_while_another_cleaner_counts_is_given_back_once(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, limit = 1000, 3000
    manager = make_manager(quarantine_seconds=GRACE, quarantine_max_bytes=limit)
    root = manager.roots.base
    quarantine(manager, clock, size, "a", "b", "c")
    (record, *_) = manager.records()
    entry = Entry.parse(f"{digest_of('d')}.1.{size:x}.{ASIDE}")
    assert entry is not None
    others: list[threading.Thread] = []
    unlink, owner = os.unlink, manager.cleaner.promises.owner()

    def unlink_while_another_counts(path: str, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        if path.endswith(".from") and not others:
            arguments = (root, root.private.peek(), entry, owner, record, limit)
            others.append(threading.Thread(target=companion.write, args=arguments))
            others[0].start()
            others[0].join(0.3)

    monkeypatch.setattr(os, "unlink", unlink_while_another_counts)
    manager.restore(base_dir / "a")
    others[0].join()
    assert companion.used_bytes(root) == limit
    assert sum(name.endswith(".from") for name in os.listdir(root.private.path)) == limit // size
