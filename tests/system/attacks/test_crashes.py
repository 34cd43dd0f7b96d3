"""kill -9 between every two system calls: nothing is lost or deleted twice, and the next claim finishes the work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deletion_support import delete, registered, settings_for
from tempfleet.deletion import failpoints as faults
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.plan import Quarantined
from tempfleet.filesystem.creation import create_file
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.private_directory import digest_of
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import System
from tempfleet.records import Deletion, FileRecord, Outcome

POINTS = [point for point in faults.POINTS if point.startswith(("guarded.", "begin.", "tree.", "secure."))]


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path, secure_delete=True, quarantine_seconds=60)) as opened:
        yield opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data"


def killed_at(point: str, roots: Roots, records: list[FileRecord], *, quarantine: bool = False) -> bool:
    """Deletes *records* in a process that kills itself at *point*. Returns False if it did not reach the point."""

    def die(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        faults.install(die)
        deleter = Deleter(roots, roots.settings)
        work = deleter.quarantine if quarantine else deleter.delete
        list(work(records, token=7, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def left_over(roots: Roots) -> list[str]:
    return [
        name for root in roots for name in root.private.names() if not name.startswith(("audit.log", "clock"))
    ]


@pytest.mark.parametrize("recovers", [False, True], ids=["claimed again", "recovered first"])
@pytest.mark.parametrize("point", POINTS)
def test_the_next_claim_finishes_the_deletion_of_a_killed_process(
    data: Path, roots: Roots, point: str, recovers: bool
) -> None:
    file, tree, bystander = data / "file", data / "tree", data / "bystander"
    file.write_text("x" * 10)
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_text("x")
    bystander.write_text("precious")
    records = [registered(roots, file), registered(roots, tree, directory=True)]
    died = killed_at(point, roots, records)
    assert died == (point != "guarded.put-back")
    if recovers:
        Deleter(roots, roots.settings).recover()
    outcomes = [deletion.outcome for deletion in delete(roots, *records, token=8)]
    assert set(outcomes) <= {Outcome.DELETED, Outcome.MISSING}
    finished = recovers and point.startswith(("tree.", "begin."))  # what was begun needs no record
    if point not in ("guarded.unlinked", "tree.emptied") and died and not finished:
        assert Outcome.DELETED in outcomes
    Deleter(roots, roots.settings).recover()
    assert left_over(roots) == []
    assert sorted(name for name in os.listdir(data) if not name.startswith(".")) == ["bystander"]


@pytest.mark.parametrize("point", ["guarded.moved", "guarded.put-back"])
def test_recovery_returns_a_foreign_file_that_a_killed_process_moved(
    data: Path, roots: Roots, point: str
) -> None:
    path = data / "name"
    path.write_text("temporary")
    record = registered(roots, path)

    def child() -> None:
        def at(reached: str) -> None:
            if reached == "guarded.found":
                path.unlink()
                path.write_text("precious")
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        faults.install(at)
        list(Deleter(roots, roots.settings).delete([record], token=7, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    recovered = Deleter(roots, roots.settings).recover()
    assert [file.path for file in recovered if file.back] == ([str(path)] if point == "guarded.moved" else [])
    assert path.read_text() == "precious"
    assert delete(roots, record)[0].outcome is Outcome.REPLACED
    assert path.read_text() == "precious"
    assert left_over(roots) == []


@pytest.mark.parametrize("unverified", [False, True])
@pytest.mark.parametrize("point", ["guarded.moved", "guarded.put-back"])
def test_a_stranger_moved_into_quarantine_by_a_killed_process_gets_its_name_back(
    data: Path, roots: Roots, point: str, unverified: bool
) -> None:
    """Also if the record has no identity, because it was made for a silent host."""
    path = Path(roots.base.path, "name") if unverified else data / "name"
    path.write_text("temporary")
    record = registered(roots, path)
    if unverified:
        registered_ms = time.time_ns() // 1_000_000 + 60_000
        record = FileRecord(record.path, registered_ms, registered_ms, flags="u", uid=record.uid)

    def child() -> None:
        def at(reached: str) -> None:
            if reached == "set-aside.noted":
                path.unlink()
                path.write_text("precious")
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        faults.install(at)
        list(Deleter(roots, roots.settings).quarantine([record], token=7, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    deleter = Deleter(roots, roots.settings)
    recovered = deleter.recover()
    assert [file.path for file in recovered if file.back] == ([str(path)] if point == "guarded.moved" else [])
    assert path.read_text() == "precious"
    assert list(deleter.quarantined_files()) == []
    if unverified:
        return  # it would be verified by its age alone, and this one is old enough
    [result] = deleter.quarantine([record], token=8, may_go_on=lambda: True)
    assert isinstance(result, Deletion) and result.outcome is Outcome.REPLACED
    assert path.read_text() == "precious"


def test_recovery_leaves_in_quarantine_what_a_killed_process_moved_there(data: Path, roots: Roots) -> None:
    path = data / "file"
    path.write_text("x")
    name = new_name()
    os.close(create_file(roots, name, mode=0o600))
    created = FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid())
    for record in (created, registered(roots, path)):
        assert killed_at("set-aside.moved", roots, [record], quarantine=True)
    deleter = Deleter(roots, roots.settings)
    assert deleter.recover() == []
    assert sorted(file.path for file in deleter.quarantined_files()) == sorted([created.path, str(path)])


def test_the_next_claim_returns_a_foreign_file_without_recovery(data: Path, roots: Roots) -> None:
    path = data / "name"
    path.write_text("temporary")
    record = registered(roots, path)
    path.unlink()
    path.write_text("precious")
    root = roots.find(str(path))
    assert root is not None
    root.private.open()
    private = Path(root.private.path)
    path.rename(private / f"{digest_of(str(path))}.7")
    assert [d.outcome for d in delete(roots, record, token=8)] == [Outcome.REPLACED]
    assert path.read_text() == "precious"


def test_recovery_does_not_touch_the_files_of_a_living_process(data: Path, roots: Roots) -> None:
    path = data / "name"
    path.write_text("x")
    record = registered(roots, path)
    recoveries: list[object] = []

    def at(point: str) -> None:
        if point == "guarded.moved":
            recoveries.append(Deleter(roots, roots.settings).recover())

    faults.install(at)
    try:
        assert delete(roots, record)[0].outcome is Outcome.DELETED
    finally:
        faults.install(None)
    assert recoveries == [[]]


@pytest.mark.parametrize("point", ["set-aside.noted", "guarded.moved", "guarded.compared", "set-aside.moved"])
def test_the_next_claim_finishes_the_quarantine_of_a_killed_process(
    data: Path, roots: Roots, point: str
) -> None:
    path = data / "file"
    path.write_text("x")
    record = registered(roots, path)
    assert killed_at(point, roots, [record], quarantine=True)
    deleter = Deleter(roots, roots.settings)
    deleter.recover()
    [result] = deleter.quarantine([record], token=8, may_go_on=lambda: True)
    assert isinstance(result, Quarantined)
    assert deleter.restore(str(path)).aside_path == result.new.path
    assert path.read_text() == "x"


def test_a_tree_that_outlasts_its_lease_is_left_to_the_next_claim(
    tmp_path: Path, data: Path, system: System
) -> None:
    tree = data / "tree"
    tree.mkdir(parents=True)
    for n in range(10):
        (tree / str(n)).touch()
    with Roots.open(settings_for(tmp_path), system=system) as roots:
        record = registered(roots, tree, directory=True)
        answers = iter([True] * 5 + [False])
        deleter = Deleter(roots, roots.settings)
        assert list(deleter.delete([record], token=7, may_go_on=lambda: next(answers))) == []
        assert not tree.exists()
        tree.write_text("new")
        assert [d.outcome for d in delete(roots, record, token=8)] == [Outcome.DELETED]
        assert tree.read_text() == "new"
        assert deleter.recover() == []  # nothing is left of the file, so the journal is removed
        assert left_over(roots) == []
