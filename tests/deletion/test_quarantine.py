"""Quarantined files are restored and purged. After a crash the next claim finishes the work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deletion_support import preview
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.plan import Quarantined
from tempfleet.errors import FileMissing
from tempfleet.filesystem.creation import create_file
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import new_name, normalise
from tempfleet.filesystem.private_directory import digest_of
from tempfleet.filesystem.roots import Roots
from tempfleet.records import Deletion, FileRecord, NewFile, Outcome
from tempfleet.settings.settings import Settings


@pytest.fixture
def deleter(tmp_path: Path) -> Iterator[Deleter]:
    (tmp_path / "data").mkdir()
    settings = Settings(
        base_dir=str(tmp_path / "base"),
        allowed_roots=(str(tmp_path / "data"),),
        quarantine_seconds=60,
        quarantine_max_bytes=1000,
    )
    with Roots.open(settings) as roots:
        yield Deleter(roots, settings)


@pytest.fixture
def roots(deleter: Deleter) -> Roots:
    return deleter.roots


@pytest.fixture
def file(tmp_path: Path, deleter: Deleter) -> Path:
    path = tmp_path.resolve() / "data" / "file"
    path.write_bytes(b"x" * 100)
    return path


def record_of(new: NewFile) -> FileRecord:
    return FileRecord(
        new.path, 0, 0, size_bytes=new.size_bytes, identity=new.identity, flags=new.flags, uid=new.uid
    )


def registered(roots: Roots, path: Path, *, directory: bool = False) -> FileRecord:
    return record_of(inspect(normalise(path), roots, ttl_ms=1000, directory=directory))


def quarantine(deleter: Deleter, *records: FileRecord, token: int = 7) -> list[Deletion | Quarantined]:
    return list(deleter.quarantine(records, token=token, may_go_on=lambda: True))


def moved(deleter: Deleter, record: FileRecord, token: int = 7) -> Quarantined:
    [result] = quarantine(deleter, record, token=token)
    assert isinstance(result, Quarantined)
    return result


def test_a_quarantined_file_keeps_its_bytes_and_is_restored(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    record = registered(roots, file)
    quarantined = moved(deleter, record)
    assert (quarantined.record, quarantined.new.ttl_ms, quarantined.new.identity) == (
        record,
        60_000,
        record.identity,
    )
    assert not file.exists()
    assert Path(quarantined.new.path).read_bytes() == b"x" * 100
    assert [aside.path for aside in deleter.quarantined_files()] == [str(file)]
    assert deleter.restore(str(file)).aside_path == quarantined.new.path
    assert file.read_bytes() == b"x" * 100
    assert list(deleter.quarantined_files()) == []
    with pytest.raises(FileMissing):
        deleter.restore(str(file))


def test_the_record_of_a_quarantined_file_deletes_only_that_file(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    quarantined = record_of(moved(deleter, registered(roots, file)).new)
    file.write_text("new")
    assert preview(roots, quarantined).outcome is Outcome.DELETED
    assert os.path.exists(quarantined.path)
    [purged] = deleter.delete([quarantined], token=9, may_go_on=lambda: True)
    assert (purged.outcome, purged.freed_bytes) == (Outcome.DELETED, 100)
    assert list(deleter.quarantined_files()) == []
    assert file.read_text() == "new"
    assert [d.outcome for d in deleter.delete([quarantined], token=9, may_go_on=lambda: True)] == [
        Outcome.MISSING
    ]


def test_a_created_record_outside_the_base_directory_itself_is_refused_whatever_is_in_quarantine(
    deleter: Deleter, roots: Roots
) -> None:
    path = Path(roots.base.path, "sub", "file")
    path.parent.mkdir()
    path.write_text("x")
    quarantined = moved(deleter, registered(roots, path))
    record = FileRecord(str(path), 0, 0, flags="c", uid=os.geteuid())
    refused = Deletion(record, Outcome.REFUSED, reason="not-private")
    with deleter.preview(quarantine=True) as predict:
        assert predict(record) == refused
    assert quarantine(deleter, record, token=8) == [refused]
    assert os.path.exists(quarantined.new.path)


def test_the_next_claim_after_a_crash_reports_the_quarantined_file(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    record = registered(roots, file)
    first = moved(deleter, record)
    assert moved(deleter, record, token=8).new == first.new
    file.write_text("another")
    assert moved(deleter, record, token=9).new == first.new
    assert file.read_text() == "another"


def test_a_half_deleted_file_is_deleted_and_a_new_file_with_its_name_stays(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    record = registered(roots, file)
    root = roots.find(record.path)
    assert root is not None
    left = f"{digest_of(record.path)}.6"
    os.rename(file, left, dst_dir_fd=root.private.open())
    file.write_text("another")
    assert [d.outcome for d in quarantine(deleter, record)] == [Outcome.DELETED]
    assert (root.private.entries(), file.read_text()) == ([], "another")


def test_a_new_file_at_the_old_path_is_not_mixed_up_with_the_quarantined_one(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    moved(deleter, registered(roots, file))
    file.write_text("second")
    second = registered(roots, file)
    file.unlink()
    assert [d.outcome for d in deleter.delete([second], token=8, may_go_on=lambda: True)] == [Outcome.MISSING]
    assert not file.exists()
    assert len(list(deleter.quarantined_files())) == 1


def test_a_file_is_deleted_at_once_if_the_quarantine_is_full(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    paths = [file.with_name(str(n)) for n in range(12)]
    for path in paths:
        path.write_bytes(b"y" * 100)
    done = quarantine(deleter, *[registered(roots, path) for path in paths])
    deleted = [result for result in done if isinstance(result, Deletion)]
    assert [(d.outcome, d.reason) for d in deleted] == [(Outcome.DELETED, "quarantine-full")] * 2
    assert sum(aside.size_bytes for aside in deleter.quarantined_files()) == 1000
    assert not any(path.exists() for path in paths)


def test_a_created_file_and_a_directory_are_quarantined_too(
    deleter: Deleter, roots: Roots, tmp_path: Path
) -> None:
    name = new_name()
    os.close(create_file(roots, name, mode=0o600))
    created = FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid())
    tree = tmp_path / "data" / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "f").write_text("x")
    for record in (created, registered(roots, tree, directory=True)):
        quarantined = record_of(moved(deleter, record).new)
        assert deleter.restore(record.path).aside_path == quarantined.path
        assert os.path.exists(record.path)
    assert (tree / "sub" / "f").exists()
    quarantined = record_of(moved(deleter, created).new)
    assert [d.outcome for d in deleter.delete([quarantined], token=1, may_go_on=lambda: True)] == [
        Outcome.DELETED
    ]


def test_a_record_cannot_delete_other_files_of_the_private_directory(
    deleter: Deleter, roots: Roots, file: Path
) -> None:
    moved(deleter, registered(roots, file))
    for name in os.listdir(f"{file.parent}/.tempfleet-{os.geteuid()}"):
        path = f"{file.parent}/.tempfleet-{os.geteuid()}/{name}"
        done = list(
            deleter.delete([FileRecord(path, 0, 0, identity="b1.1")], token=1, may_go_on=lambda: True)
        )
        assert done[0].outcome in (Outcome.REFUSED, Outcome.REPLACED)
        assert os.path.lexists(path)
