"""Section 2: the problems to solve, and the goals of the design."""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from specification.material import New, exist, registered, temporary_file, undeletable
from support import assert_balanced, python
from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

KILLED = """
import os, sys
from tempfleet import Settings, TempFileManager
manager = TempFileManager(settings=Settings.load(base_dir=sys.argv[1], redis_url=sys.argv[2], host="web-1"))
manager.create(ttl=0.001).close()
os.kill(os.getpid(), 9)
"""


@pytest.mark.process
def test_2_1_storage_files_of_a_killed_process_do_not_leak(
    real_server: EmbeddedServer, real_client: object, base_dir: Path
) -> None:
    with python(KILLED, base_dir, real_server.unix_url) as process:
        assert process.wait(30) == -9
    assert len(list(base_dir.glob("[!.]*"))) == 1
    settings = Settings.load(base_dir=str(base_dir), redis_url=real_server.unix_url, host="web-1")
    with closing(TempFileManager(settings=settings)) as manager:
        assert manager.cleanup() == 1
    assert list(base_dir.glob("[!.]*")) == []


def test_2_1_conflicts_concurrent_registration_and_clean_up_keep_the_counts_right(new: New) -> None:
    manager, counts = new(), list[int]()

    def work() -> None:
        registered(manager, 20)
        counts.append(manager.clear_all())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.append(manager.clear_all())
    assert sum(counts) == 80
    assert_balanced(manager)


def test_2_1_management_a_block_deletes_its_files_without_a_call(new: New) -> None:
    manager = new()
    with manager.create(suffix=".csv") as file, manager.create_dir() as directory:
        Path(directory, "part").write_text("1")
        assert exist([Path(file.path), Path(directory.path)]) == 2
    assert exist([Path(file.path), Path(directory.path)]) == 0
    assert len(manager.files) == 0


def test_2_1_performance_many_files_cost_few_round_trips(new: New, tmp_path: Path) -> None:
    manager = new(batch_size=500)
    paths = [tmp_path / "tmp" / str(i) for i in range(1500)]
    for path in paths:
        path.touch()
    before = manager.store.round_trips
    manager.register_many(paths)
    assert manager.clear_all() == 1500
    assert manager.store.round_trips - before < 30


def test_2_1_debugging_the_fate_of_a_file_can_be_read(new: New, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    manager = new(audit_log=str(log))
    (path,) = registered(manager, 1)
    assert "is due in 1 h" in str(manager.explain(path))
    manager.clear_all()
    (line,) = log.read_text().splitlines()
    assert (json.loads(line)["path"], json.loads(line)["outcome"]) == (str(path), "deleted")


def test_2_1_security_registration_removes_the_rights_of_other_users(new: New) -> None:
    path = temporary_file(content="secret")
    os.chmod(path, 0o666)
    new().register_file(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_2_2_automated_a_clean_up_needs_no_list_of_files(new: New, clock: FakeClock) -> None:
    paths = registered(new(max_age=60), 3)
    clock.advance(60)
    # Another manager deletes them. It registered none of the files.
    assert (new().cleanup(), exist(paths)) == (3, 0)


def test_2_2_isolated_two_base_directories_never_see_each_others_files(new: New, tmp_path: Path) -> None:
    ours, theirs = new(tmp_path / "ours"), new(tmp_path / "theirs")
    (path,) = registered(ours, 1)
    assert (theirs.is_temp_file(path), len(theirs.files), theirs.clear_all()) == (False, 0, 0)
    assert (ours.is_temp_file(path), len(ours.files), ours.clear_all()) == (True, 1, 1)


@pytest.mark.parametrize("quota", ["soft", "reject", "evict"])
def test_2_2_configurable_directory_and_strategy_are_settings(new: New, tmp_path: Path, quota: str) -> None:
    manager = new(tmp_path / "elsewhere", max_files=10, quota=quota)
    with manager.create() as file:
        assert file.path.startswith(str(tmp_path / "elsewhere"))
    registered(manager, 11)
    assert len(manager.files) == {"soft": 11, "reject": 10, "evict": 10}[quota]


def test_2_2_fault_tolerant_a_failed_deletion_keeps_its_record_and_is_retried(
    new: New, clock: FakeClock
) -> None:
    manager = new(max_age=10)
    (path,) = registered(manager, 1)
    clock.advance(10)
    with undeletable():
        assert manager.cleanup() == 0
    # The next try is not due yet.
    assert (manager.is_temp_file(path), manager.cleanup()) == (True, 0)
    clock.advance(5)
    assert (manager.cleanup(), path.exists()) == (1, False)
