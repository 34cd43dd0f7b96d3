"""
A cache in files. Each use of an answer renews it. If there are too many answers, the one that was not used for the
longest time is deleted.

    python examples/cache.py
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import Settings, TempFileManager

ROOM = 5


class Cache:
    """Answers of *compute*, each in its own file in the manager's directory."""

    def __init__(self, manager: TempFileManager, compute: Callable[[str], str]) -> None:
        self.manager = manager
        self.compute = compute
        self.hits = self.misses = 0

    def get(self, question: str) -> str:
        path = Path(self.manager.base_dir, hashlib.sha256(question.encode()).hexdigest()[:16])
        try:
            answer = path.read_text()
            self.hits += 1
        except FileNotFoundError:
            answer = self.compute(question)
            path.write_text(answer)
            self.misses += 1
        # This also renews a file that is registered already.
        self.manager.register_file(path)
        return answer


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        settings = Settings.load(base_dir=f"{home}/cache", max_files=ROOM, quota="evict")
        manager = TempFileManager(max_age=600, settings=settings)
        cache = Cache(manager, compute=lambda question: question.upper())

        for number in range(20):
            assert cache.get("always asked") == "ALWAYS ASKED"
            cache.get(f"asked once: {number}")
        print(f"40 questions: {cache.hits} hits, {cache.misses} misses.")
        print(f"The cache contains {len(manager.files)} files; the limit is {ROOM}.")
        print(
            f"{manager.stats().total('deleted')} answers made room; the answer that was always used stayed."
        )
        print(f"Emptied: {manager.clear_all()} files deleted.")
        manager.close()


if __name__ == "__main__":
    main()
