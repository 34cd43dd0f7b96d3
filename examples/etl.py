"""
Intermediate results of extract, transform, load. No file stays, whether a job succeeds, fails or is killed.

    python examples/etl.py
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import TempFileManager


def run(base_dir: str, job: str, rows: list[str]) -> int:
    """Return the sum of *rows*, by way of three files in a directory that is deleted at the end of the block."""
    manager = TempFileManager(base_dir, max_age=1)
    with manager.create_dir(prefix=f"{job}-", tags=[job]) as work:
        Path(work, "extracted.json").write_text(json.dumps(rows))
        numbers = [int(row) for row in json.loads(Path(work, "extracted.json").read_text())]
        Path(work, "transformed.json").write_text(json.dumps(numbers))
        if job == "killed":
            # As the kernel does when memory is short.
            os.kill(os.getpid(), signal.SIGKILL)
        Path(work, "loaded.txt").write_text(str(sum(numbers)))
        return int(Path(work, "loaded.txt").read_text())


def jobs_left(base_dir: str) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in Path(base_dir).glob("[a-z]*"))


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        base_dir = f"{home}/work"
        manager = TempFileManager(base_dir)

        total = run(base_dir, "good", ["1", "2", "3"])
        print(f"The first job returns {total}; left on disk: {jobs_left(base_dir)}")
        try:
            run(base_dir, "failed", ["1", "two", "3"])
        except ValueError as exc:
            print(f"The second job fails ({exc}); left on disk: {jobs_left(base_dir)}")

        child = multiprocessing.get_context("spawn").Process(target=run, args=(base_dir, "killed", ["1"]))
        child.start()
        child.join()
        print(f"The third job is killed (status {child.exitcode}); left on disk: {jobs_left(base_dir)}")

        # In a fleet the workers do this.
        while jobs_left(base_dir):
            time.sleep(0.1)
            manager.cleanup()
        print(f"A second later its files have expired; left on disk: {jobs_left(base_dir)}")
        manager.close()


if __name__ == "__main__":
    main()
