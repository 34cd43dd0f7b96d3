"""Forks, pickles, threads and kills: processes share a base directory, the counts balance and no file is left."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fakeredis
import pytest
import redis

from support import assert_balanced, entries, python, wait_until
from tempfleet import Settings, TempFileManager, VolumeUnavailable
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock


@pytest.fixture
def shared(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> Iterator[TempFileManager]:
    """Yields a manager with its own connection, as in a separate process."""
    manager = TempFileManager(
        settings=Settings.load(
            base_dir=str(base_dir), host="web-1", redis_url=real_server.unix_url, retry_delay_seconds=0.1
        )
    )
    yield manager
    assert_balanced(manager)
    manager.close()


def in_a_fork(work: Callable[[], object]) -> object:
    """Returns the result of *work* in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as exc:  # noqa: BLE001 - reported to the parent
            os.write(writer, json.dumps(repr(exc)).encode())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, text
    return json.loads(text)


def test_a_manager_that_was_used_before_a_fork_works_on_both_sides(shared: TempFileManager) -> None:
    parents = shared.create()
    parents.close()

    def child() -> tuple[bool, str, int]:
        childs = shared.create()
        childs.close()
        return shared.is_temp_file(parents), childs.path, len(shared.files)

    for count in (2, 3, 4):
        is_registered, path, files = in_a_fork(child)  # type: ignore[misc]
        assert (is_registered, files) == (True, count)
        assert shared.is_temp_file(path)
    assert in_a_fork(shared.clear_all) == 4
    assert shared.clear_all() == 0
    assert not os.path.exists(parents)


def test_a_manager_that_was_never_used_before_a_fork_works_on_both_sides(shared: TempFileManager) -> None:
    def child() -> int:
        for _ in range(5):
            shared.create().close()
        return shared.clear_all()

    assert in_a_fork(child) == 5
    assert child() == 5


def test_children_forked_by_several_threads_can_use_the_manager(shared: TempFileManager) -> None:
    shared.create().close()
    counts: list[object] = []
    threads = [
        threading.Thread(target=lambda: counts.append(in_a_fork(lambda: len(shared.files)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1] * 4
    shared.clear_all()


def test_a_child_that_leaves_its_parents_block_deletes_only_its_own_files(
    shared: TempFileManager, base_dir: Path
) -> None:
    own = base_dir / "own"
    with shared, shared.create() as created:
        parents = base_dir / "parents"
        parents.touch()
        shared.register(parents)
        created.close()

        def child() -> bool:
            # An exception unwinds the child's stack.
            with pytest.raises(ZeroDivisionError):
                try:
                    own.touch()
                    shared.register(own)
                    raise ZeroDivisionError
                finally:
                    created.__exit__(None, None, None)
                    shared.__exit__(None, None, None)
            return own.exists()

        assert in_a_fork(child) is False
        assert os.path.exists(created)
        assert parents.exists()
        assert len(shared.files) == 2
    assert entries(base_dir) == []


def register_there(manager: TempFileManager, path: str) -> int:
    with manager:
        manager.hold(manager.register(path, tags=["from there"]).path)
    return os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_manager_can_be_sent_to_another_process(
    shared: TempFileManager, base_dir: Path, method: str
) -> None:
    path = base_dir / "file"
    path.touch()
    shared.stats()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(register_there, (shared, str(path))) != os.getpid()
        pool.close()
        pool.join()
    record = shared.get_record(path)
    assert record is not None
    assert record.tags == ("from there",)
    shared.unhold(path)
    assert shared.clear_all() == 1


def test_a_pickled_manager_is_the_same_manager(shared: TempFileManager) -> None:
    shared.max_age = 17
    with shared.create():
        copy = pickle.loads(pickle.dumps(shared))
        assert repr(copy) == repr(shared)
        assert (copy.settings, copy.volume, copy.max_age) == (shared.settings, shared.volume, 17)
        assert len(copy.files) == 1
        assert copy.lock is not shared.lock
        copy.close()
        assert len(shared.files) == 1


def test_the_error_of_pickling_a_manager_with_a_client_gives_the_reason(tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", client=fakeredis.FakeRedis(), clock=FakeClock())
    with pytest.raises(TypeError, match="give it a redis_url instead"):
        pickle.dumps(manager)


WORKER = """
import os, random, sys, threading
from tempfleet import TempFileManager
base, url, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
manager = TempFileManager(base, 3600, redis_url=url, host="web-1")
counts, registered, problems = [], [], []

def work(number):
    try:
        for round in range(rounds):
            path = os.path.join(base, f"{os.getpid()}-{number}-{round}")
            with open(path, "w") as file:
                file.write("data")
            manager.register_file(path, ttl=0.001)
            manager.create(ttl=0.001).close()
            registered.append(2)
            if round % 5 == number % 5:
                counts.append(manager.cleanup(force=round % 2 == 0))
            manager.is_temp_file(path)
            if round % 7 == 0:
                len(manager.files)
    except BaseException as exc:
        problems.append(repr(exc))
        raise

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(counts), sum(registered), *problems)
"""


def test_8_threads_in_4_processes_share_a_base_directory_and_the_counts_balance(
    shared: TempFileManager, base_dir: Path, real_server: EmbeddedServer
) -> None:
    workers = [python(WORKER, base_dir, real_server.unix_url, 8, stderr=subprocess.PIPE) for _ in range(4)]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    totals = [[int(word) for word in out.split()] for out, _ in outputs]
    cleaned, registered = (sum(column) for column in zip(*totals, strict=True))
    assert registered == 4 * 8 * 8 * 2

    def rest() -> bool:
        nonlocal cleaned
        cleaned += shared.cleanup(force=True)
        return len(shared.files) == 0

    wait_until(rest, timeout=30)
    assert entries(base_dir) == []
    stats = shared.stats()
    assert cleaned == stats.total("deleted") == stats.total("registered") == registered
    assert (stats.leased, stats.claims, stats.total("failed"), stats.total("replaced")) == (0, 0, 0, 0)
    assert_balanced(shared)


DYING = """
import sys
from tempfleet import Settings, TempFileManager
manager = TempFileManager(settings=Settings.load(
    base_dir=sys.argv[1], redis_url=sys.argv[2], host="web-1", lease_seconds=0.5, batch_size=50, threads=2,
    retry_delay_seconds=0.1))
print("ready", flush=True)
while True:
    manager.cleanup(force=True)
"""


def test_cleaners_that_are_killed_in_the_middle_lose_nothing(
    shared: TempFileManager, base_dir: Path, real_server: EmbeddedServer
) -> None:
    for _ in range(600):
        shared.create().close()
    paths = [base_dir / str(n) for n in range(300)]
    for path in paths:
        path.touch()
    shared.register_many(paths)
    deleted = 0
    for _ in range(4):
        cleaner = python(DYING, base_dir, real_server.unix_url)
        assert cleaner.stdout is not None
        assert cleaner.stdout.readline() == "ready\n"
        before = deleted
        wait_until(lambda before=before: shared.stats().total("claimed") > before)  # type: ignore[misc]
        os.kill(cleaner.pid, signal.SIGKILL)
        cleaner.communicate()
        assert_balanced(shared)
        deleted = shared.stats().total("claimed")
    wait_until(lambda: shared.cleanup(force=True) == 0 and len(shared.files) == 0, timeout=30)
    assert entries(base_dir) == []
    stats = shared.stats()
    assert stats.total("deleted") + stats.total("missing") == 900
    assert stats.total("failed") == 0


def test_a_child_process_reports_a_missing_base_directory(shared: TempFileManager, base_dir: Path) -> None:
    shared.create().close()
    base_dir.rename(base_dir.with_name("away"))

    def child() -> str:
        with pytest.raises(VolumeUnavailable) as error:
            shared.cleanup()
        return error.value.reason

    assert in_a_fork(child) == "ENOENT"
    base_dir.with_name("away").rename(base_dir)
    assert shared.clear_all() == 1
