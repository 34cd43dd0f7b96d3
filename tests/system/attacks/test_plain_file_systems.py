"""
File systems that know less: no birth times and no file handles (FUSE, network), or a kernel that does not see all users
of a file.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from deletion_support import delete, file_system, needs_linux, needs_root, preview, registered, settings_for
from support import wait_until
from tempfleet import TempFileManager
from tempfleet.deletion.deleter import Deleter
from tempfleet.filesystem import file_systems
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.records import Outcome
from tempfleet.settings.settings import InUse

KNOWS_LITTLE = System(Capabilities())
"""The system calls of POSIX, so every identity is weak."""


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path), system=KNOWS_LITTLE) as roots:
        yield roots


@pytest.mark.parametrize("place", ["data", "base"])
def test_a_file_that_was_written_to_after_its_registration_is_deleted_in_time(
    real_client: redis.Redis, tmp_path: Path, place: str
) -> None:
    with TempFileManager(settings=settings_for(tmp_path), client=real_client) as manager:
        manager.roots.system = KNOWS_LITTLE
        path = tmp_path.resolve() / place / "file"
        path.write_text("x")
        record = manager.register(path, ttl=0.05)
        assert record.identity.startswith("w")
        path.write_text("longer")

        def is_deleted() -> bool:
            manager.cleanup()
            return not path.exists()

        assert wait_until(is_deleted)
        assert manager.stats().total("rewritten") == 1 and manager.stats().total("deleted") == 1


def test_another_file_outside_the_base_directory_is_no_rewrite(roots: Roots, tmp_path: Path) -> None:
    path = tmp_path.resolve() / "data" / "file"
    path.write_text("x")
    record = registered(roots, path)
    path.with_name("new").write_text("longer")
    os.replace(path.with_name("new"), path)
    assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.REPLACED]
    assert path.exists()


def change_mode(path: Path) -> None:
    path.chmod(0o750)


def move_there_and_back(path: Path) -> None:
    path.rename(path.with_name("elsewhere")).rename(path)


@pytest.mark.parametrize("change", [change_mode, move_there_and_back])
@pytest.mark.parametrize("directory", [False, True])
def test_a_file_that_was_moved_and_put_back_is_the_same_file(
    roots: Roots, tmp_path: Path, change: Callable[[Path], None], directory: bool
) -> None:
    path = tmp_path.resolve() / "data" / "entry"
    path.mkdir() if directory else path.touch()
    record = registered(roots, path, directory=directory)
    change(path)
    assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.DELETED]
    assert not path.exists()


def test_a_directory_whose_first_try_failed_is_deleted_by_the_next(roots: Roots, tmp_path: Path) -> None:
    path = tmp_path.resolve() / "data" / "tree"
    (path / "sub").mkdir(parents=True)
    record = registered(roots, path, directory=True)
    for n in range(3):
        (path / "sub" / str(n)).touch()  # its program goes on
        (path / str(n)).touch()
    answers = iter([True] * 3)
    stopped = Deleter(roots, roots.settings).delete([record], token=7, may_go_on=lambda: next(answers, False))
    assert list(stopped) == []
    assert [deletion.outcome for deletion in delete(roots, record, token=8)] == [Outcome.DELETED]
    assert not path.exists()


@needs_linux
@needs_root
@pytest.mark.parametrize("in_use", [InUse.KEEP, InUse.STRICT])
def test_a_write_lock_proves_nothing_where_other_clients_may_have_the_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_use: InUse
) -> None:
    kind = file_systems.kind_of(os.open(tmp_path, os.O_RDONLY))
    monkeypatch.setattr("tempfleet.filesystem.syscalls.KNOWN_ELSEWHERE", {kind})
    log = tmp_path / "audit"
    with Roots.open(settings_for(tmp_path, in_use=in_use, audit_log=str(log))) as roots:
        path = tmp_path.resolve() / "data" / "file"
        path.touch()
        (deletion,) = delete(roots, registered(roots, path))
    kept = in_use is InUse.STRICT
    assert (deletion.outcome, path.exists()) == (Outcome.BUSY if kept else Outcome.DELETED, kept)
    assert '"in_use":"unknown"' in log.read_text()


@contextmanager
def overlay(at: Path) -> Iterator[Path]:
    parts = {name: at.with_name(f"{at.name}-{name}") for name in ("lower", "upper", "work")}
    for part in (at, *parts.values()):
        part.mkdir()
    options = ",".join(f"{name}dir={part}" for name, part in parts.items())
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@needs_linux
@needs_root
@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay"])
def test_files_and_directories_of_a_real_file_system_are_deleted_after_writes(
    tmp_path: Path, kind: str
) -> None:
    at = tmp_path / "mounted"
    settings = settings_for(tmp_path).model_copy(update={"allowed_roots": (str(at),)})
    mounted = overlay(at) if kind == "overlay" else file_system(kind, at)
    with mounted, Roots.open(settings) as roots:
        file, tree = at / "file", at / "tree"
        file.write_text("x")
        (tree / "sub").mkdir(parents=True)
        records = [registered(roots, file), registered(roots, tree, directory=True)]
        file.write_text("longer"), (tree / "sub" / "new").touch()
        assert [preview(roots, record).outcome for record in records] == [Outcome.DELETED] * 2
        assert [deletion.outcome for deletion in delete(roots, *records)] == [Outcome.DELETED] * 2
        assert not file.exists() and not tree.exists()
