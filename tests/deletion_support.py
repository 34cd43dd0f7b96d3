"""Records without a registry, attacker processes, and private file systems."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tempfleet.deletion.deleter import Deleter
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import normalise
from tempfleet.filesystem.roots import Roots
from tempfleet.records import Deletion, FileRecord, NewFile
from tempfleet.settings.settings import InUse, Settings

RENAME_EXCHANGE = 2
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="uses Linux system calls")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def settings_for(tmp_path: Path, **values: object) -> Settings:
    (tmp_path / "data").mkdir(exist_ok=True)
    options: dict[str, object] = {"in_use": InUse.DELETE, **values}
    return Settings(base_dir=str(tmp_path / "base"), allowed_roots=(str(tmp_path / "data"),), **options)


def record_of(new: NewFile) -> FileRecord:
    return FileRecord(
        new.path, 0, 0, size_bytes=new.size_bytes, identity=new.identity, flags=new.flags, uid=new.uid
    )


def registered(roots: Roots, path: Path, *, directory: bool = False) -> FileRecord:
    return record_of(inspect(normalise(path), roots, ttl_ms=1000, directory=directory))


def delete(roots: Roots, *records: FileRecord, token: int = 7) -> list[Deletion]:
    deleter = Deleter(roots, roots.settings)
    return list(deleter.delete(records, token=token, may_go_on=lambda: True))


def preview(roots: Roots, record: FileRecord) -> Deletion:
    """What ``delete`` would do, which changes nothing."""
    with Deleter(roots, roots.settings).preview() as predict:
        return predict(record)


def exchange(path: str | Path, other_path: str | Path) -> None:
    """Exchange two names atomically (RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(path), -100, os.fsencode(other_path), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


@contextmanager
def attacker(attack: Callable[[], None]) -> Iterator[None]:
    """
    Repeat *attack* in another process while the block runs. A failed attack is tried again.
    """
    context = multiprocessing.get_context("fork")
    stop, started = context.Event(), context.Event()
    process = context.Process(target=_repeat, args=(attack, stop, started), daemon=True)
    process.start()
    try:
        assert started.wait(10)
        yield
        assert process.is_alive()
    finally:
        stop.set()
        process.join(10)


def _repeat(attack: Callable[[], None], stop: Event, started: Event) -> None:
    started.set()
    n = 0
    while n % 64 or not stop.is_set():
        n += 1
        try:
            attack()
        except OSError:
            pass


@contextmanager
def mounted(kind: Sequence[str], at: Path) -> Iterator[Path]:
    """Mount a file system. *kind* holds the arguments of mount before the directory. Skips if mounting is forbidden."""
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *kind, str(at)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def file_system(kind: str, at: Path) -> Iterator[Path]:
    """Yields a fresh ext4 on a loop device, or a fresh tmpfs."""
    if kind == "tmpfs":
        with mounted(["-t", "tmpfs", "-o", "size=64m", "tmpfs"], at):
            yield at
        return
    image = at.with_suffix(".image")
    with image.open("wb") as blank:
        blank.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(["-o", "loop", str(image)], at):
        yield at
