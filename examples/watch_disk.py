"""
A watchdog of disk use, with a rule of its own: thumbnails can be made again, so they go first; then downloads, the
oldest first, until there is room again. What somebody holds stays.

    python examples/watch_disk.py

The budget stands for a disk here. On a real one ask shutil.disk_usage() instead of manager.stats(), or have it done:
with TEMP_FILE_EVICT_ABOVE=90 the workers make room, by TEMP_FILE_EVICTION_POLICY. This is for a rule of your own.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import CleanupReport, State, TempFileManager

HIGH, LOW = 400_000, 250_000
"""Above HIGH bytes it begins, below LOW it ends: so it does not run for every new file."""


def arrive(manager: TempFileManager, name: str, kind: str, size: int) -> None:
    path = Path(manager.base_dir, name)
    path.write_bytes(b"x" * size)
    manager.register(path, tags=[kind])


def make_room(manager: TempFileManager) -> None:
    """Delete what can be done without, until LOW is reached."""
    if manager.stats().bytes <= HIGH:
        return
    tell("thumbnails", manager.cleanup_report(force=True, tags=["thumbnail"]))
    oldest_first = sorted(manager.records(state=State.WAITING), key=lambda record: record.registered_ms)
    for record in oldest_first:
        if manager.stats().bytes <= LOW:
            return
        tell("download", manager.cleanup_report(force=True, prefix=record.path))


def tell(what: str, report: CleanupReport) -> None:
    print(f"  too much: deleted {report.deleted} {what}, freed {report.freed_bytes:,} bytes")


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        manager = TempFileManager(f"{home}/disk")
        for number in range(10):
            arrive(manager, f"download-{number}.bin", "download", 60_000)
            arrive(manager, f"thumbnail-{number}.png", "thumbnail", 8_000)
            if number == 0:
                manager.hold(Path(home, "disk", "download-0.bin"), reason="being looked at")
            print(f"Download {number} and its thumbnail have come: {manager.stats().bytes:,} bytes")
            make_room(manager)
            assert manager.stats().bytes <= HIGH
        print(f"The first download was held, and is there: {Path(home, 'disk', 'download-0.bin').exists()}")
        manager.unhold(Path(home, "disk", "download-0.bin"))
        print(f"Closing: {manager.clear_all()} files deleted.")
        manager.close()


if __name__ == "__main__":
    main()
