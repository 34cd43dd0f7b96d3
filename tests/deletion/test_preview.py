"""A dry run and a real run use one plan: the preview predicts what the deletion does, and leaves nothing open."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deletion_support import delete, needs_linux, needs_root, preview, registered, settings_for
from support import NOBODY, as_nobody, tree
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.direct import Direct
from tempfleet.deletion.guarded import Guarded
from tempfleet.deletion.plan import Plan, Quarantined
from tempfleet.deletion.quarantine import QUARANTINE
from tempfleet.deletion.session import Session
from tempfleet.filesystem.creation import create_directory, create_file
from tempfleet.filesystem.identity import Identity
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.private_directory import digest_of
from tempfleet.filesystem.roots import Roots
from tempfleet.records import Deletion, FileRecord, Outcome
from tempfleet.settings.settings import InUse

MakeRecord = Callable[[Path, Roots], FileRecord]


def named(data: Path, roots: Roots) -> FileRecord:
    (data / "file").write_bytes(b"x" * 100)
    return registered(roots, data / "file")


def named_tree(data: Path, roots: Roots) -> FileRecord:
    (data / "tree" / "sub").mkdir(parents=True)
    (data / "tree" / "sub" / "file").write_bytes(b"x" * 100)
    return registered(roots, data / "tree", directory=True)


def created(data: Path, roots: Roots) -> FileRecord:
    name = new_name()
    fd = create_file(roots, name, mode=0o600)
    os.write(fd, b"x" * 100)
    os.close(fd)
    return FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid())


def created_tree(data: Path, roots: Roots) -> FileRecord:
    name = new_name()
    create_directory(roots, name, mode=0o700)
    Path(roots.base.path, name, "file").write_bytes(b"x" * 100)
    return FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="cd", uid=os.geteuid())


def missing(data: Path, roots: Roots) -> FileRecord:
    record = named(data, roots)
    os.unlink(record.path)
    return record


def missing_created(data: Path, roots: Roots) -> FileRecord:
    record = created(data, roots)
    os.unlink(record.path)
    return record


def another_file(data: Path, roots: Roots) -> FileRecord:
    record = named(data, roots)
    os.rename(record.path, data / "kept")
    Path(record.path).write_text("precious")
    return record


def a_directory_now(data: Path, roots: Roots) -> FileRecord:
    record = missing(data, roots)
    os.mkdir(record.path)
    return record


def a_created_name_with_a_directory(data: Path, roots: Roots) -> FileRecord:
    record = missing_created(data, roots)
    os.mkdir(record.path)
    return record


def another_owners(data: Path, roots: Roots) -> FileRecord:
    return replace(named(data, roots), uid=os.geteuid() + 1)


def another_owners_created(data: Path, roots: Roots) -> FileRecord:
    return replace(created(data, roots), uid=os.geteuid() + 1)


def without_identity(data: Path, roots: Roots) -> FileRecord:
    return replace(named(data, roots), identity="-")


def created_elsewhere(data: Path, roots: Roots) -> FileRecord:
    return replace(without_identity(data, roots), flags="c")


def outside(data: Path, roots: Roots) -> FileRecord:
    return FileRecord("/etc/passwd", 0, 0, identity="b1.1")


def unverified(data: Path, roots: Roots) -> FileRecord:
    return FileRecord(named(data, roots).path, 0, 0, flags="u")


def half_deleted(data: Path, roots: Roots) -> FileRecord:
    """Returns the record of a file that an earlier claim moved into the private directory before it died."""
    record = named(data, roots)
    root = roots.find(record.path)
    assert root is not None
    os.rename(record.path, f"{digest_of(record.path)}.6", dst_dir_fd=root.private.open())
    return record


def half_deleted_beside_another_file(data: Path, roots: Roots) -> FileRecord:
    record = half_deleted(data, roots)
    Path(record.path).write_text("precious")
    return record


def quarantined_and_not_reported(data: Path, roots: Roots) -> FileRecord:
    """Returns the record of a file whose claim moved it into quarantine and died before it reported that."""
    return _quarantined(named(data, roots), roots).record


def created_quarantined_and_not_reported(data: Path, roots: Roots) -> FileRecord:
    return _quarantined(created(data, roots), roots).record


def in_quarantine(data: Path, roots: Roots) -> FileRecord:
    new = _quarantined(named(data, roots), roots).new
    return FileRecord(new.path, 0, 0, identity=new.identity, flags=new.flags, uid=new.uid)


def tree_in_quarantine(data: Path, roots: Roots) -> FileRecord:
    new = _quarantined(named_tree(data, roots), roots).new
    return FileRecord(new.path, 0, 0, identity=new.identity, flags=new.flags, uid=new.uid)


def another_file_in_quarantine(data: Path, roots: Roots) -> FileRecord:
    record = in_quarantine(data, roots)
    os.rename(record.path, data / "kept")
    Path(record.path).write_text("precious")
    return record


def not_in_quarantine(data: Path, roots: Roots) -> FileRecord:
    record = in_quarantine(data, roots)
    return replace(record, path=os.path.dirname(record.path) + "/audit.log")


def _quarantined(record: FileRecord, roots: Roots) -> Quarantined:
    [result] = Deleter(roots, roots.settings).quarantine([record], token=6, may_go_on=lambda: True)
    assert isinstance(result, Quarantined)
    return result


RECORDS: list[MakeRecord] = [
    named, named_tree, created, created_tree, missing, missing_created, another_file, a_directory_now,
    a_created_name_with_a_directory, another_owners, another_owners_created, without_identity, created_elsewhere,
    outside, unverified, half_deleted, half_deleted_beside_another_file, quarantined_and_not_reported,
    created_quarantined_and_not_reported, in_quarantine, tree_in_quarantine, another_file_in_quarantine,
    not_in_quarantine,
]  # fmt: skip


def descriptors() -> int:
    return psutil.Process().num_fds() if sys.platform == "linux" else 0


@pytest.mark.parametrize("in_use", InUse)
@pytest.mark.parametrize(
    ("quarantine", "full"),
    [(False, False), (True, False), (True, True)],
    ids=["delete", "quarantine", "full quarantine"],
)
@pytest.mark.parametrize("make", RECORDS, ids=lambda make: make.__name__)
def test_a_preview_changes_nothing_and_predicts_the_deletion(
    tmp_path: Path, make: MakeRecord, quarantine: bool, full: bool, in_use: InUse
) -> None:
    with Roots.open(settings_for(tmp_path, in_use=in_use, quarantine_seconds=60)) as roots:
        record = make(tmp_path.resolve() / "data", roots)
        settings = roots.settings.model_copy(update={"quarantine_max_bytes": 10 if full else 10_000})
        deleter = Deleter(roots, settings)
        before, open_before = tree(tmp_path), descriptors()
        with deleter.preview(quarantine=quarantine) as predict:
            predicted = predict(record)
        assert tree(tmp_path) == before
        assert descriptors() == open_before
        work = deleter.quarantine if quarantine else deleter.delete
        [done] = work([record], token=7, may_go_on=lambda: True)
    if isinstance(done, Quarantined):
        assert (predicted.outcome, predicted.reason) == (Outcome.DELETED, QUARANTINE)
        assert predicted.freed_bytes == 0
    else:
        assert predicted.reason != QUARANTINE
        assert predicted[1:] == done[1:]


@pytest.mark.parametrize("in_use", [InUse.KEEP, InUse.STRICT])
@pytest.mark.parametrize("make", [named, named_tree, created, created_tree], ids=lambda make: make.__name__)
@pytest.mark.parametrize("quarantine", [False, True], ids=["delete", "quarantine"])
def test_a_preview_of_an_open_file_is_busy(
    tmp_path: Path, make: MakeRecord, quarantine: bool, in_use: InUse
) -> None:
    with Roots.open(settings_for(tmp_path, in_use=in_use, quarantine_seconds=60)) as roots:
        record = make(tmp_path.resolve() / "data", roots)
        path = next((path for path in Path(record.path).rglob("file")), Path(record.path))
        deleter = Deleter(roots, roots.settings)
        roots.base.private.open()  # stays open: the audit log is in it
        with path.open("rb"):
            open_before = descriptors()
            with deleter.preview(quarantine=quarantine) as predict:
                predicted = predict(record)
            work = deleter.quarantine if quarantine else deleter.delete
            assert [*work([record], token=7, may_go_on=lambda: True)] == [predicted]
            assert descriptors() == open_before
        assert (predicted.outcome, path.exists()) == (Outcome.BUSY, True)


def test_a_dropped_plan_releases_its_write_lock(tmp_path: Path) -> None:
    with Roots.open(settings_for(tmp_path, in_use=InUse.KEEP)) as roots:
        data = tmp_path.resolve() / "data"
        with Session(roots, roots.settings, [], token=7, may_go_on=lambda: True) as session:
            for way, record in ((Guarded(), named(data, roots)), (Direct(), created(data, roots))):
                root = roots.find(record.path)
                assert root is not None
                plan = way.plan(record, root, session)
                assert isinstance(plan, Plan)
                assert plan.expected == Deletion(record, Outcome.DELETED, plan.expected.way, 100)
                assert (session.exclusive >= 0) == roots.system.can.write_locks
                session.release()
                assert session.exclusive == -1
                with Path(record.path).open("r+b") as file:  # waits for the process that has the write lock
                    assert len(file.read()) == 100


@pytest.mark.parametrize("quarantine", [False, True], ids=["delete", "quarantine"])
def test_a_preview_compares_file_handles_as_the_deletion_does(tmp_path: Path, quarantine: bool) -> None:
    with Roots.open(settings_for(tmp_path, quarantine_seconds=60)) as roots:
        record = named(tmp_path.resolve() / "data", roots)
        if not Identity(record.identity).handles:
            pytest.skip("this file system has no lasting file handles")
        record = replace(record, identity=record.identity[:-1] + ("0" if record.identity[-1] != "0" else "1"))
        deleter = Deleter(roots, roots.settings)
        with deleter.preview(quarantine=quarantine) as predict:
            predicted = predict(record)
        work = deleter.quarantine if quarantine else deleter.delete
        [done] = work([record], token=7, may_go_on=lambda: True)
        assert isinstance(done, Deletion)
        assert predicted.outcome is done.outcome is Outcome.REPLACED
        assert Path(record.path).read_bytes() == b"x" * 100


def another_users_file_in_a_sticky_directory(at: Path) -> Path:
    return owned(at / "shared", 0, 0o1777, of_file=1234)


def own_file_in_a_sticky_directory(at: Path) -> Path:
    return owned(at / "shared", 0, 0o1777, of_file=NOBODY)


def another_users_file_in_an_own_sticky_directory(at: Path) -> Path:
    return owned(at / "shared", NOBODY, 0o1777, of_file=1234)


def another_users_file_in_a_directory_of_all(at: Path) -> Path:
    return owned(at / "shared", 0, 0o777, of_file=1234)


def own_file_in_a_directory_that_may_not_be_written_to(at: Path) -> Path:
    return owned(at / "fixed", 0, 0o755, of_file=NOBODY)


def a_tree_with_another_users_file_in_a_sticky_directory(at: Path) -> Path:
    owned(at / "tree" / "shared", 0, 0o1777, of_file=1234)
    os.chown(at / "tree", NOBODY, NOBODY)
    return at / "tree"


def owned(directory: Path, uid: int, mode: int, *, of_file: int) -> Path:
    """A file of *of_file* in a directory of *uid*."""
    directory.mkdir(parents=True)
    (directory / "file").touch()
    os.chown(directory / "file", of_file, of_file)
    os.chown(directory, uid, uid)
    directory.chmod(mode)
    return directory / "file"


DONE = (Outcome.DELETED, "")
DENIED = (Outcome.FAILED, "EACCES")
NOT_PERMITTED = (Outcome.FAILED, "EPERM")


@needs_root
@needs_linux
@pytest.mark.parametrize(
    ("make", "expected", "without_private"),
    [
        (another_users_file_in_a_sticky_directory, NOT_PERMITTED, NOT_PERMITTED),
        (own_file_in_a_sticky_directory, DONE, DONE),
        (another_users_file_in_an_own_sticky_directory, DONE, DONE),
        (another_users_file_in_a_directory_of_all, DONE, DENIED),
        (own_file_in_a_directory_that_may_not_be_written_to, DENIED, DENIED),
        (a_tree_with_another_users_file_in_a_sticky_directory, NOT_PERMITTED, DENIED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("root_mode", [0o1777, 0o755], ids=["root-of-all", "root-that-may-not-be-written-to"])
def test_a_preview_foretells_what_the_kernel_refuses_another_user(
    make: Callable[[Path], Path],
    expected: tuple[Outcome, str],
    without_private: tuple[Outcome, str],
    root_mode: int,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        top = Path(temporary)
        for directory, mode in ((top, 0o755), (top / "data", root_mode), (top / "base", 0o1777)):
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        path = make(top / "data")
        with Roots.open(settings_for(top)) as roots:
            record = registered(roots, path, directory=path.is_dir())

        def both() -> list[tuple[Outcome, str]]:
            with Roots.open(settings_for(top)) as roots:
                predicted = preview(roots, record)
                (done,) = delete(roots, record)
            return [(result.outcome, result.reason) for result in (predicted, done)]

        predicted, done = as_nobody(both)
        assert predicted == done
        # In a root that may not be written to, no private directory can be made.
        assert done == (without_private if root_mode == 0o755 else expected)
