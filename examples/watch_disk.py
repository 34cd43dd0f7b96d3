"""
A watchdog for disk usage with its own rule. Thumbnails can be created again, so they are deleted first. Then downloads
are deleted, the oldest first, until there is enough space. Held files stay.

    python examples/watch_disk.py

Here a budget stands for the disk. For a real disk, use shutil.disk_usage() instead of manager.stats(). You need this
only for a rule of your own: with TEMP_FILE_EVICT_ABOVE=90 the workers evict files by TEMP_FILE_EVICTION_POLICY.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import CleanupReport, State, TempFileManager

HIGH, LOW = 400_000, 250_000
"""Deleting starts above HIGH bytes and ends below LOW, so that it does not run for every new file."""


def arrive(manager: TempFileManager, name: str, kind: str, size: int) -> None:
    path = Path(manager.base_dir, name)
    path.write_bytes(b"x" * size)
    manager.register(path, tags=[kind])


def make_room(manager: TempFileManager) -> None:
    """Delete thumbnails, then downloads, until LOW is reached."""
    if manager.stats().bytes <= HIGH:
        return
    print_result("thumbnails", manager.cleanup_report(force=True, tags=["thumbnail"]))
    oldest_first = sorted(manager.records(state=State.WAITING), key=lambda record: record.registered_ms)
    for record in oldest_first:
        if manager.stats().bytes <= LOW:
            return
        print_result("download", manager.cleanup_report(force=True, prefix=record.path))


def print_result(kind: str, report: CleanupReport) -> None:
    print(f"  too full: deleted {report.deleted} {kind}, freed {report.freed_bytes:,} bytes")


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        manager = TempFileManager(f"{home}/disk")
        for number in range(10):
            arrive(manager, f"download-{number}.bin", "download", 60_000)
            arrive(manager, f"thumbnail-{number}.png", "thumbnail", 8_000)
            if number == 0:
                manager.hold(Path(home, "disk", "download-0.bin"), reason="in use")
            print(f"Download {number} and its thumbnail have arrived: {manager.stats().bytes:,} bytes")
            make_room(manager)
            assert manager.stats().bytes <= HIGH
        print(f"The first download was held; it is there: {Path(home, 'disk', 'download-0.bin').exists()}")
        manager.unhold(Path(home, "disk", "download-0.bin"))
        print(f"Clearing all: {manager.clear_all()} files deleted.")
        manager.close()


if __name__ == "__main__":
    main()
