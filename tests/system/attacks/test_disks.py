"""Attacks with real mounts, file systems, trees and limits."""

from __future__ import annotations

import itertools
import os
import resource
import stat
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deletion_support import (
    delete,
    file_system,
    mounted,
    needs_linux,
    needs_root,
    preview,
    registered,
    settings_for,
)
from tempfleet.deletion.deleter import Deleter
from tempfleet.errors import UnsafePath
from tempfleet.filesystem.overwrite import overwrite
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import System
from tempfleet.records import FileRecord, Outcome
from tempfleet.settings.settings import InUse


@pytest.fixture
def roots(tmp_path: Path, system: System) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path), system=system) as opened:
        yield opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data"


@needs_root
@needs_linux
def test_a_bind_mount_is_never_crossed(data: Path, roots: Roots, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("precious")
    parent = data / "parent"
    parent.mkdir()
    (parent / "f").write_text("temporary")
    record = registered(roots, parent / "f")
    with mounted(["--bind", str(outside)], parent):
        assert [(d.outcome, d.reason) for d in delete(roots, record)] == [(Outcome.REFUSED, "mount")]
        with pytest.raises(UnsafePath, match="mount"):
            registered(roots, parent / "f")
    assert (outside / "f").exists()
    assert delete(roots, record)[0].outcome is Outcome.DELETED


@needs_root
@needs_linux
def test_a_mount_point_is_refused(data: Path, roots: Roots, tmp_path: Path, system: System) -> None:
    """Whatever is mounted on the name, the registered object is still below it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    file, masked = data / "file", data / "masked"
    for path in (file, masked, tmp_path / "source"):
        path.touch()
    sources = (
        (data / "dir", outside, True),
        (file, tmp_path / "source", False),
        (masked, "/dev/null", False),
    )
    for target, source, directory in sources:
        if directory:
            target.mkdir()
        record = registered(roots, target, directory=directory)
        done = subprocess.run(["mount", "--bind", source, target], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("cannot mount here")
        try:
            (deletion,) = delete(roots, record)
            without_mounts = not system.can.statx
            assert (deletion.outcome, deletion.reason) == (Outcome.REFUSED, "mount") or without_mounts
            assert target.exists()
        finally:
            subprocess.run(["umount", target], check=True)


@needs_root
@needs_linux
def test_a_tree_with_a_mount_inside_stays_untouched(data: Path, roots: Roots) -> None:
    tree = data / "a tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "f").touch()
    record = registered(roots, tree, directory=True)
    with mounted(["-t", "tmpfs", "tmpfs"], tree / "sub"):
        (tree / "sub" / "precious").touch()
        assert preview(roots, record).outcome is Outcome.REFUSED
        assert [(d.outcome, d.reason) for d in delete(roots, record)] == [(Outcome.REFUSED, "mount")]
        assert (tree / "sub" / "precious").exists()
        assert (tree / "f").exists()
    assert delete(roots, record)[0].outcome is Outcome.DELETED


@needs_root
@needs_linux
def test_a_root_that_was_unmounted_or_covered_is_unavailable(tmp_path: Path, system: System) -> None:
    at = tmp_path.resolve() / "data"
    with mounted(["-t", "tmpfs", "-o", "mode=700", "tmpfs"], at):
        roots = Roots.open(settings_for(tmp_path), system=system)
        (at / "f").touch()
        record = registered(roots, at / "f")
    assert list(roots.check()) == [str(at)]
    assert delete(roots, record)[0].outcome is Outcome.UNAVAILABLE
    roots.close()


@needs_root
@needs_linux
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_every_outcome_works_on_every_file_system(tmp_path: Path, system: System, kind: str) -> None:
    with file_system(kind, tmp_path / "mounted") as at:
        at.chmod(0o700)
        with Roots.open(settings_for(at.resolve()), system=system) as roots:
            path = at.resolve() / "data" / "f"
            for n in range(300):
                path.write_text("first")
                stale = registered(roots, path)
                path.unlink()
                path.write_text("second")
                assert path.exists()
                if registered(roots, path).identity != stale.identity:
                    assert delete(roots, stale)[0].outcome is Outcome.REPLACED, n
                assert delete(roots, registered(roots, path))[0].outcome is Outcome.DELETED
            path.write_text("x")
            record = registered(roots, path)
            subprocess.run(["mount", "-o", "remount,ro", at], check=True)
            [deletion] = delete(roots, record)
            assert (deletion.outcome, deletion.reason) == (Outcome.UNAVAILABLE, "EROFS")
            subprocess.run(["mount", "-o", "remount,rw", at], check=True)
            assert delete(roots, record)[0].outcome is Outcome.DELETED


@needs_root
@needs_linux
def test_files_can_be_deleted_on_a_full_disk(tmp_path: Path) -> None:
    with file_system("ext4", tmp_path / "mounted") as at:
        at.chmod(0o700)
        with Roots.open(settings_for(at.resolve())) as roots:
            path = at.resolve() / "data" / "f"
            path.write_bytes(bytes(1 << 20))
            record = registered(roots, path)
            with pytest.raises(OSError, match="No space"), (at / "data" / "big").open("wb") as big:
                while True:
                    big.write(bytes(1 << 20))
            assert delete(roots, record)[0].outcome is Outcome.DELETED


@needs_root
@needs_linux
def test_without_a_free_inode_a_file_is_deleted_and_a_directory_is_postponed(tmp_path: Path) -> None:
    with mounted(["-t", "tmpfs", "-o", "nr_inodes=20", "tmpfs"], tmp_path / "mounted") as at:
        at.chmod(0o700)
        with Roots.open(settings_for(at.resolve())) as roots:
            path, directory = at.resolve() / "data" / "f", at.resolve() / "data" / "d"
            path.touch()
            directory.mkdir()
            file_record, directory_record = (
                registered(roots, path),
                registered(roots, directory, directory=True),
            )
            next((at / "data").glob(".tempfleet-*")).rmdir()
            with pytest.raises(OSError, match="No space"):
                for number in itertools.count():
                    (at / "data" / f"g{number}").touch()
            deletion = delete(roots, directory_record)[0]
            assert (deletion.outcome, deletion.reason) == (Outcome.UNAVAILABLE, "ENOSPC")
            assert directory.exists()
            assert delete(roots, file_record)[0].outcome is Outcome.DELETED
            assert not path.exists()
            # The removed private directory has one inode while it is open here.
            (at / "data" / "g0").unlink()
            assert delete(roots, directory_record)[0].outcome is Outcome.DELETED


@needs_root
@needs_linux
def test_an_immutable_file_fails_with_its_errno_and_keeps_its_name(tmp_path: Path) -> None:
    with file_system("ext4", tmp_path / "mounted") as at:
        at.chmod(0o700)
        with Roots.open(settings_for(at.resolve())) as roots:
            path, tree = at.resolve() / "data" / "f", at.resolve() / "data" / "tree"
            tree.mkdir()
            for file in (path, tree / "f"):
                file.touch()
            records = [registered(roots, path), registered(roots, tree, directory=True)]
            subprocess.run(["chattr", "+i", path, tree / "f"], check=True)
            predicted = preview(roots, records[0])
            assert (predicted.outcome, predicted.reason) == (Outcome.FAILED, "EPERM")
            done = delete(roots, *records)
            assert [(d.outcome, d.reason) for d in done] == [(Outcome.FAILED, "EPERM")] * 2
            assert path.exists()
            assert (tree / "f").exists()
            subprocess.run(["chattr", "-i", path, tree / "f"], check=True)
            assert [d.outcome for d in delete(roots, *records)] == [Outcome.DELETED] * 2


@needs_root
@needs_linux
def test_a_preview_predicts_errors_of_the_system(tmp_path: Path) -> None:
    with file_system("ext4", tmp_path / "mounted") as at:
        at.chmod(0o700)
        with Roots.open(settings_for(at.resolve())) as roots:
            path, kept = at.resolve() / "data" / "f", at.resolve() / "data" / "fixed" / "f"
            kept.parent.mkdir()
            for file in (path, kept):
                file.touch()
            records = [registered(roots, path), registered(roots, kept)]
            deleter = Deleter(roots, roots.settings)
            with deleter.preview() as predict:
                assert [predict(record).outcome for record in records] == [Outcome.DELETED] * 2
            for change, undo, expected in (
                (["chattr", "+i", kept.parent], ["chattr", "-i", kept.parent], (Outcome.FAILED, "EPERM")),
                (
                    ["mount", "-o", "remount,ro", at],
                    ["mount", "-o", "remount,rw", at],
                    (Outcome.UNAVAILABLE, "EROFS"),
                ),
            ):
                subprocess.run(change, check=True)
                try:
                    predicted = preview(roots, records[1])
                    (done,) = delete(roots, records[1])
                finally:
                    subprocess.run(undo, check=True)
                assert (predicted.outcome, predicted.reason) == (done.outcome, done.reason) == expected


def test_a_preview_predicts_a_missing_write_permission(data: Path, roots: Roots) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    path = data / "closed" / "f"
    path.parent.mkdir()
    path.touch()
    record = registered(roots, path)
    path.parent.chmod(0o500)
    try:
        predicted, (done,) = preview(roots, record), delete(roots, record)
    finally:
        path.parent.chmod(0o700)
    assert (predicted.outcome, predicted.reason) == (done.outcome, done.reason) == (Outcome.FAILED, "EACCES")


def test_deleting_one_of_two_hard_links_frees_nothing(data: Path, roots: Roots) -> None:
    (data / "f").write_text("x" * 100)
    (data / "other").hardlink_to(data / "f")
    record = registered(roots, data / "f")
    [deletion] = delete(roots, record)
    assert (deletion.outcome, deletion.freed_bytes) == (Outcome.DELETED, 0)
    assert (data / "other").read_text() == "x" * 100


@pytest.mark.parametrize("created", [False, True])
def test_secure_delete_of_a_large_file_continues_in_the_next_claim(
    tmp_path: Path, data: Path, system: System, created: bool
) -> None:
    with Roots.open(settings_for(tmp_path, secure_delete=True), system=system) as roots:
        path = Path(roots.base.path) / new_name() if created else data / "large"
        with path.open("wb") as file:
            file.write(b"x" * (3 << 20))
            file.seek(20 << 20)  # a hole, which takes no space
            file.write(b"x" * (5 << 20))
        record = registered(roots, path)
        if created:
            record = replace(record, identity="-", flags="c")
        for token in range(1, 20):
            answers = iter([True] * 4)
            deleter = Deleter(roots, roots.settings)
            if list(deleter.delete([record], token=token, may_go_on=lambda: next(answers, False))):  # noqa: B023
                break
        assert token > 2 and not path.exists()
        assert delete(roots, record)[0].outcome is Outcome.MISSING


def test_secure_delete_does_not_overwrite_a_file_with_another_link(tmp_path: Path, data: Path) -> None:
    with Roots.open(settings_for(tmp_path, secure_delete=True)) as roots:
        for name in ("single", "linked"):
            (data / name).write_bytes(b"secret" * 1000)
        (data / "other").hardlink_to(data / "linked")
        (data / "single").chmod(0o400)
        held = os.open(data / "single", os.O_RDONLY)
        records = [registered(roots, data / name) for name in ("single", "linked")]
        assert [d.outcome for d in delete(roots, *records)] == [Outcome.DELETED] * 2
        assert b"secret" not in os.pread(held, 6000, 0)
        os.close(held)
        assert (data / "other").read_bytes() == b"secret" * 1000


@pytest.mark.parametrize("linked", [False, True])
def test_secure_delete_makes_a_read_only_file_writable_only_if_it_is_the_only_link(
    tmp_path: Path, linked: bool
) -> None:
    path, user = tmp_path / "read-only", os.geteuid() or 65534
    path.write_bytes(b"secret")
    os.chown(path, user, -1), os.chown(tmp_path, user, -1)
    path.chmod(0o444)
    if linked:
        (tmp_path / "other").hardlink_to(path)
    directory = os.open(tmp_path, os.O_RDONLY)
    before = os.geteuid()
    os.seteuid(user)  # root may write to read-only files
    try:
        assert overwrite(directory, path.name, lambda: True)
    finally:
        os.seteuid(before)
        os.close(directory)
    assert stat.S_IMODE(path.stat().st_mode) == (0o444 if linked else 0o600)
    assert (path.read_bytes() == b"secret") is linked


def test_a_process_without_free_descriptors_postpones_the_deletion(data: Path, roots: Roots) -> None:
    (data / "sub").mkdir()
    (data / "sub" / "f").touch()
    record = registered(roots, data / "sub" / "f")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    taken = []
    try:
        while True:
            try:
                taken.append(os.open("/", os.O_RDONLY))
            except OSError:
                break
        [deletion] = delete(roots, record)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (deletion.outcome, deletion.reason) == (Outcome.UNAVAILABLE, "EMFILE")
    assert delete(roots, record)[0].outcome is Outcome.DELETED


def test_a_tree_20000_deep_needs_no_recursion_and_few_descriptors(tmp_path: Path, system: System) -> None:
    """Uses tmpfs if there is one, because removing a directory from a disk can take a millisecond."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") else tmp_path
    with (
        tempfile.TemporaryDirectory(dir=place) as at,
        Roots.open(settings_for(Path(at)), system=system) as roots,
    ):
        tree = Path(at).resolve() / "data" / "tree"
        tree.mkdir()
        _make_deep(tree, 20_000)
        record = registered(roots, tree, directory=True)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            assert delete(roots, record)[0].outcome is Outcome.DELETED
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not tree.exists()


def test_a_preview_of_a_deep_tree_reads_a_limited_depth(tmp_path: Path, data: Path, system: System) -> None:
    tree = data / "tree"
    tree.mkdir(parents=True)
    _make_deep(tree, 500)
    with Roots.open(settings_for(tmp_path, in_use=InUse.STRICT), system=system) as roots:
        record = registered(roots, tree, directory=True)
        predicted = preview(roots, record)
        assert (predicted.outcome, predicted.reason) == (Outcome.BUSY, "in-use-unknown")
        [weight] = Deleter(roots, roots.settings).footprints([record])
        assert weight is not None and 64 <= weight.files <= 66
    with Roots.open(settings_for(tmp_path, in_use=InUse.KEEP), system=system) as roots:
        assert delete(roots, record)[0].outcome is Outcome.DELETED


def _make_deep(tree: Path, levels: int) -> None:
    at = os.open(tree, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


@pytest.mark.parametrize("in_use", [InUse.DELETE, InUse.KEEP])
def test_a_wide_tree_is_deleted_with_constant_memory(tmp_path: Path, data: Path, in_use: InUse) -> None:
    tree = data / "tree"
    (tree / "sub").mkdir(parents=True)
    for n in range(50_000):
        os.close(os.open(tree / "sub" / str(n), os.O_CREAT, 0o600))
    with Roots.open(settings_for(tmp_path, in_use=in_use)) as roots:
        record = registered(roots, tree, directory=True)
        tracemalloc.start()
        assert delete(roots, record)[0].outcome is Outcome.DELETED
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 << 20


def test_a_file_of_another_owner_is_refused(data: Path, roots: Roots) -> None:
    (data / "f").touch()
    record = registered(roots, data / "f")
    [deletion] = delete(roots, replace(record, uid=record.uid + 1))
    assert (deletion.outcome, deletion.reason) == (Outcome.REFUSED, "owner")
    assert (data / "f").exists()


def test_an_unverified_record_is_compared_with_the_age_of_the_file(tmp_path: Path, data: Path) -> None:
    with Roots.open(settings_for(tmp_path, message_roots=(str(data),))) as roots:
        now_ms = time.time_ns() // 1_000_000
        (data / "f").write_text("x")
        young = FileRecord(str(data / "f"), now_ms - 60_000, 0, flags="u")
        assert [(d.outcome, d.reason) for d in delete(roots, young)] == [(Outcome.REPLACED, "too-young")]
        old = FileRecord(str(data / "f"), now_ms + 1000, 0, flags="u")
        (data / "link").symlink_to("f")
        link = FileRecord(str(data / "link"), now_ms + 1000, 0, flags="u")
        elsewhere = FileRecord(roots.base.path + "/f", now_ms + 1000, 0, flags="u")
        Path(elsewhere.path).touch()
        done = delete(roots, link, elsewhere, old)
        assert [(d.outcome, d.reason) for d in done] == [
            (Outcome.REPLACED, "symlink"),
            (Outcome.REFUSED, "outside-message-roots"),
            (Outcome.DELETED, ""),
        ]
        assert [d.record for d in done] == [link, elsewhere, old]


def test_a_missing_file_is_missing_under_every_in_use_setting(tmp_path: Path, data: Path) -> None:
    with Roots.open(settings_for(tmp_path, in_use=InUse.STRICT)) as roots:
        (data / "f").touch()
        record = registered(roots, data / "f")
        (data / "f").unlink()
        assert delete(roots, record)[0].outcome is Outcome.MISSING
