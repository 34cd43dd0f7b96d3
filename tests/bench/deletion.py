"""
Files per second against a bare ``os.unlink`` loop over the same files, in the same run, the audit log on.

    python -m tests.bench.deletion

For each file system the files are written and synced, then deleted. Nothing is synced after the deletions, neither for
the loop nor for us. As in a clean-up, a batch has 500 records, in one thread or in four.

Beside each ratio stands the ratio of the same system calls in an empty loop, by descriptor. No program can exceed that.
With files of one page on tmpfs, where a bare unlink takes 6 us, it is near the target or below it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tempfleet.deletion.deleter import Deleter
from tempfleet.filesystem import in_use
from tempfleet.filesystem.creation import create_file
from tempfleet.filesystem.file_systems import WriteLocks
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.roots import Roots
from tempfleet.records import FileRecord, Outcome
from tempfleet.settings.settings import InUse, Settings

FILES = 4000
BATCH = 500
ROUNDS = 5
TARGETS = {
    ("direct", InUse.DELETE): 0.65,
    ("guarded", InUse.DELETE): 0.35,
    ("direct", InUse.KEEP): 0.35,
    ("guarded", InUse.KEEP): 0.2,
}


def run() -> list[str]:
    """Measure, and yield one line per result."""
    lines = []
    for name, places, size in (
        ("tmpfs", _shared_memory, 4 << 10),
        ("tmpfs", _shared_memory, 64 << 10),
        ("tmpfs", _shared_memory, 256 << 10),
        ("ext4, journaled, loop mount", _loop_mount, 4 << 10),
    ):
        with places() as at:
            if at is None:
                lines.append(f"{name}: not measured here (needs root)")
                continue
            for (way, use), target in TARGETS.items():
                for threads in (1, 4):
                    ratio, most, rate = _measure(at, way, use, threads, size)
                    lines.append(
                        f"{name:28} {size >> 10:3} KiB {way:8} in_use={use.value:7} {threads} thread(s) "
                        f"{rate:9,.0f} files/s  {ratio:.2f} of os.unlink (target {target}, its calls alone {most:.2f})"
                    )
    lines.append(f"{FILES} files, synced before and not after, median of {ROUNDS}; audit log on")
    return lines


def _measure(at: Path, way: str, use: InUse, threads: int, size: int) -> tuple[float, float, float]:
    """Returns our ratio to the loop, the ratio of the bare calls, and our files per second: medians of paired runs."""
    ratios, mosts, rates = [], [], []
    data = at / "data"
    data.mkdir(exist_ok=True)
    settings = Settings(base_dir=str(at / "base"), allowed_roots=(str(data),), in_use=use)
    with Roots.open(settings) as roots:
        deleter = Deleter(roots, settings)
        make = _created if way == "direct" else _registered
        for _ in range(ROUNDS):
            bare = _timed(
                lambda paths: [os.unlink(path) for path in paths], [r.path for r in make(roots, data, size)]
            )
            ours = _timed(lambda records: _delete(deleter, records, threads), make(roots, data, size))
            calls = _timed(lambda records: _call(roots, way, use, records), make(roots, data, size))
            ratios.append(bare / ours)
            mosts.append(bare / calls)
            rates.append(FILES / ours)
    return statistics.median(ratios), statistics.median(mosts), statistics.median(rates)


def _timed(work: Callable[[list], object], items: list) -> float:
    os.sync()
    began = time.perf_counter()
    work(items)
    return time.perf_counter() - began


def _delete(deleter: Deleter, records: list[FileRecord], threads: int) -> None:
    end = time.monotonic() + 60
    chunk_size = BATCH // threads
    chunks = [records[n : n + chunk_size] for n in range(0, len(records), chunk_size)]

    def delete(chunk: list[FileRecord]) -> int:
        deletions = deleter.delete(chunk, token=1, may_go_on=lambda: time.monotonic() < end)
        return sum(deletion.outcome is Outcome.DELETED for deletion in deletions)

    if threads == 1:
        deleted = sum(map(delete, chunks))
    else:
        with ThreadPoolExecutor(threads) as pool:
            deleted = sum(pool.map(delete, chunks))
    assert deleted == len(records), f"{deleted} of {len(records)} deleted"


def _call(roots: Roots, way: str, use: InUse, records: list[FileRecord]) -> None:
    """Run only the system calls of *way*: no comparison, no outcome, no audit line."""
    reader, private = roots.system.reader(), roots.base.private.open()
    parents: dict[str, int] = {}
    for n, record in enumerate(records):
        at, _, name = record.path.rpartition("/")
        fd = parents.get(at)
        if fd is None:
            fd = parents[at] = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
        held = -1
        if way == "direct":
            os.stat(name, dir_fd=fd, follow_symlinks=False)
            if use is not InUse.DELETE:
                _, held = in_use.hold(fd, name, write_locks=WriteLocks.ALL)
            os.unlink(name, dir_fd=fd)
        else:
            reader.stat(fd, name)
            if use is not InUse.DELETE:
                _, held = in_use.hold(fd, name, write_locks=WriteLocks.ALL)
            entry = f"{n:x}"
            os.rename(name, entry, src_dir_fd=fd, dst_dir_fd=private)
            reader.handle(private, entry)
            os.unlink(entry, dir_fd=private)
        if held >= 0:
            os.close(held)
    for fd in parents.values():
        os.close(fd)


def _created(roots: Roots, _data: Path, size: int) -> list[FileRecord]:
    records = []
    for _ in range(FILES):
        name = new_name()
        fd = create_file(roots, name, mode=0o600)
        os.write(fd, bytes(size))
        os.close(fd)
        records.append(FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid()))
    return records


def _registered(roots: Roots, data: Path, size: int) -> list[FileRecord]:
    records = []
    for n in range(FILES):
        path = data / f"job-{n // 100}"
        path.mkdir(exist_ok=True)
        path = path / f"part-{n}.tmp"
        path.write_bytes(bytes(size))
        new = inspect(str(path), roots, ttl_ms=1000)
        records.append(
            FileRecord(new.path, 0, 0, size_bytes=new.size_bytes, identity=new.identity, uid=new.uid)
        )
    return records


@contextmanager
def _shared_memory() -> Iterator[Path | None]:
    if not Path("/dev/shm").is_dir():
        yield None
        return
    at = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        yield at.resolve()
    finally:
        shutil.rmtree(at)


@contextmanager
def _loop_mount() -> Iterator[Path | None]:
    """Yield a new file system, so that nothing else writes to its journal."""
    if os.geteuid() != 0:
        yield None
        return
    at = Path(tempfile.mkdtemp())
    image, mounted = at / "image", at / "mounted"
    mounted.mkdir()
    with image.open("wb") as blank:
        blank.truncate(512 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        try:
            mounted.chmod(0o700)
            yield mounted.resolve()
        finally:
            subprocess.run(["umount", mounted], check=True)
    finally:
        shutil.rmtree(at)


if __name__ == "__main__":
    print("\n".join(run()))
