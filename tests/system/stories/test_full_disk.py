"""A disk that fills up faster than its files expire, and a real worker that keeps its usage between two limits."""

from __future__ import annotations

import os
from pathlib import Path

from deletion_support import mounted, needs_linux, needs_root
from stack import Stack, stack
from support import assert_balanced, entries, wait_until

__all__ = ["stack"]

KIB = 1024


@needs_root
@needs_linux
def test_a_worker_keeps_a_disk_between_its_limits_while_new_files_arrive(
    stack: Stack, tmp_path: Path
) -> None:
    with mounted(["-t", "tmpfs", "-o", "mode=700,size=8m", "tmpfs"], tmp_path / "web-1") as disk:
        limits = {"TEMP_FILE_EVICT_ABOVE": "70", "TEMP_FILE_EVICT_DOWN_TO": "40"}
        worker = stack.worker(TEMP_FILE_ALLOWED_ROOTS=str(disk), **limits)
        manager = worker.manager()
        held = disk / "held"
        held.write_bytes(b"x" * 100 * KIB)
        manager.register(held)
        manager.hold(held)

        def percent() -> float:
            space = os.statvfs(disk)
            return 100 * (1 - space.f_bfree / space.f_blocks)

        for n in range(400):  # 25 MiB on a disk of 8 MiB
            if percent() > 90:
                wait_until(lambda: percent() < 75, timeout=30)
            path = disk / f"f{n:03}"
            path.write_bytes(b"x" * 64 * KIB)
            manager.register(path)

        def settled() -> tuple[list[str], dict[str, float]] | None:
            """Returns the files on disk and the worker's counts, or None while an eviction makes them differ."""
            files, samples = entries(disk)[:-1], worker.samples()
            is_settled = percent() < 71 and samples["temp_files_evicted_total"] == 400 - len(files)
            return (files, samples) if is_settled else None

        newest, samples = wait_until(settled, timeout=30)
        assert held.exists()
        # Only the oldest files were evicted.
        assert newest == [f"f{n:03}" for n in range(400 - len(newest), 400)]
        assert samples["temp_files_evicted_total"] == 400 - len(newest)
        assert samples["temp_file_evicted_bytes_total"] == samples["temp_files_evicted_total"] * 64 * KIB
        assert samples["temp_file_disk_full"] == 0
        assert "Evicted" in worker.process.output and "wanted to free" in worker.process.output
        assert_balanced(manager)
        manager.close()
        worker.process.end()
