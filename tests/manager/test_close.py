"""
``close`` in one thread while others work: nobody loops, nobody touches a directory that is not ours, and what was
claimed is handed back. What is closed answers with ManagerClosed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import MakeManager
from support import assert_balanced, entries, kernel_locks, open_files, wait_until
from tempfleet import AlreadyClaimed, ManagerClosed, Settings, TempFileManager, TempfleetError
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

SECONDS = 20

Work = Callable[[TempFileManager], object]

CALLS: dict[str, Work] = {
    "create": lambda manager: manager.create(),
    "create_dir": lambda manager: manager.create_dir(),
    "register": lambda manager: manager.register(Path(manager.base_dir, "named")),
    "cleanup": lambda manager: manager.cleanup(),
    "force": lambda manager: manager.cleanup(force=True),
    "preview": lambda manager: list(manager.preview()),
    "restore": lambda manager: manager.restore(Path(manager.base_dir, "named")),
    "evict": lambda manager: manager.evictor.evict(),
    "compress": lambda manager: manager.compressor.compress_idle(),
    "announce": lambda manager: manager.local_volume.announcer.announce(),
    "verify": lambda manager: manager.verify_unverified(),
    "adopt": lambda manager: manager.adopt(),
    "files": lambda manager: list(manager.files),
    "stats": lambda manager: manager.stats(),
    "explain": lambda manager: manager.explain(Path(manager.base_dir, "named")),
    "open": lambda manager: manager.open(Path(manager.base_dir, "named")),
    "quarantined": lambda manager: manager.quarantined(),
}


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    faults.install(None)


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException | None]]:
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - the test looks at it
            raised.append(exc)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_manager_answers_with_an_error_and_its_remedy(
    make_manager: MakeManager, base_dir: Path, call: str
) -> None:
    manager = make_manager(compress_after_seconds=60, evict_above=2, evict_down_to=1)
    (base_dir / "named").write_text("text")
    manager.register(base_dir / "named")
    manager.close()
    with pytest.raises(ManagerClosed, match="create another manager") as error:
        CALLS[call](manager)
    assert isinstance(error.value, TempfleetError) and error.value.reason == "closed"


def test_the_pages_of_a_closed_manager_say_so(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.close()
    report = manager.health_check()
    assert report["status"] == "unhealthy" and "closed" in report["error"]


@pytest.mark.parametrize("grace", [0, 600], ids=["deleted", "quarantined"])
@pytest.mark.parametrize(
    "point", ["direct.found", "guarded.found", "guarded.moved", "guarded.compared", "tree.entry"]
)
def test_a_clean_up_whose_manager_is_closed_ends_and_hands_back_the_rest(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str, grace: int
) -> None:
    """Meanwhile other files get the numbers of the descriptors that are closed: none of them is touched."""
    manager, reader = make_manager(quarantine_seconds=grace), make_manager()
    (base_dir / "tree").mkdir()
    (base_dir / "tree" / "file").write_text("text")
    manager.register(base_dir / "tree", ttl=5, directory=True)
    for n in range(20):
        (base_dir / f"named{n}").write_text("text")
        manager.register(base_dir / f"named{n}", ttl=5)
        manager.create(ttl=5).close()
    clock.advance(6)
    reached, closed = threading.Event(), threading.Event()

    def at(here: str) -> None:
        if here == point and not reached.is_set():
            reached.set()
            assert closed.wait(SECONDS)

    faults.install(at)
    thread, raised = in_thread(manager.cleanup)
    found = reached.wait(2)
    manager.close()
    others = [os.open(base_dir.parent, os.O_RDONLY | os.O_DIRECTORY) for _ in range(8)]
    closed.set()
    thread.join(SECONDS)
    for fd in others:
        os.close(fd)
    assert not thread.is_alive()
    assert isinstance(raised[0], ManagerClosed) if found else raised == [None]
    assert [path.name for path in base_dir.parent.iterdir()] == ["base"]
    stats = reader.stats()
    assert (stats.leased, stats.claims, stats.dead) == (0, 0, 0)
    faults.install(None)
    reader.cleanup()
    assert entries(base_dir) == []
    assert_balanced(reader)


def test_threads_that_work_while_a_manager_is_closed_end_with_that_error_and_leave_no_descriptor(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, reader = make_manager(compress_after_seconds=60), make_manager()
    reader.stats()
    (base_dir / "named").write_text("text")
    for _ in range(10):
        manager.create(ttl=5).close()
    locks = kernel_locks()  # of the server, perhaps

    def endless(work: Work) -> Callable[[], Any]:
        def run() -> None:
            while True:
                try:
                    work(manager)
                except (FileNotFoundError, AlreadyClaimed):  # nothing to restore; it is deleted just now
                    pass

        return run

    works = [work for name, work in CALLS.items() if name not in ("create", "create_dir", "open")]
    threads = [in_thread(endless(work)) for work in works]
    clock.advance(6)
    manager.cleanup()
    manager.close()
    for thread, _ in threads:
        thread.join(SECONDS)
    kinds = {type(raised[0]) if raised else None for _, raised in threads}
    assert kinds == {ManagerClosed}, [raised for _, raised in threads]
    assert kernel_locks() == locks
    mine = [name for name in open_files() if name.startswith(str(base_dir))]
    assert [name for name in mine if name != str(base_dir)] == [] and len(mine) == 1  # that of the reader
    stats = reader.stats()
    assert (stats.leased, stats.claims) == (0, 0)


def test_no_call_fails_at_a_connection_that_another_thread_closed_and_none_stays_open(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    """A manager without a given client closes its own connections."""
    settings = Settings.load(base_dir=str(base_dir), host="web-1", redis_url=real_server.unix_url)

    def connections() -> int:
        return len(real_client.client_list())

    mine = connections()
    for _ in range(5):
        manager = TempFileManager(settings=settings)
        manager.create().close()

        def endless(work: Work, manager: TempFileManager = manager) -> None:
            while True:
                work(manager)

        works = [CALLS[name] for name in ("files", "stats", "preview", "verify", "quarantined")]
        works.append(lambda manager: list(manager.records()))
        threads = [in_thread(partial(endless, work)) for work in works]
        wait_until(lambda: connections() - mine >= len(works) - 2)  # noqa: B023 - it is called at once
        manager.close()
        for thread, _ in threads:
            thread.join(SECONDS)
        assert [type(error) for _, raised in threads for error in raised] == [ManagerClosed] * len(threads), [
            raised for _, raised in threads
        ]
        wait_until(lambda: connections() == mine)
