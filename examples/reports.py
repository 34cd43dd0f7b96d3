"""
Reports that wait to be fetched. Each lives for a second here; then what nobody cared for is deleted.

    python examples/reports.py
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import TempFileManager


def write_report(manager: TempFileManager, customer: str) -> str:
    """A report for *customer*; it is registered before it exists, so it cannot be forgotten."""
    with manager.create(prefix=f"{customer}-", suffix=".txt", mode="w+", tags=[customer]).file as file:
        file.write(f"What {customer} bought: 3 chairs, 1 table.\n")
    return file.name


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        manager = TempFileManager(f"{home}/reports", max_age=1)
        alice, bob, carol, dave = (write_report(manager, name) for name in ("alice", "bob", "carol", "dave"))
        manager.renew(alice, ttl=3600)
        manager.hold(bob, 7 * 86400, reason="he complained; kept for a week")
        manager.unregister(carol)
        for path in (alice, bob, carol, dave):
            print(manager.explain(path).sentences()[0].removeprefix(f"{home}/reports/"))

        while Path(dave).exists():  # in a fleet the workers do this
            time.sleep(0.1)
            manager.cleanup()
        left = sorted(path.name.partition("-")[0] for path in Path(home, "reports").glob("*.txt"))
        print(f"A second later there are those of {', '.join(left)}.")

        manager.unhold(bob)
        print(f"Bob is content: {manager.cleanup()} report deleted.")
        print(
            f"We are closing: {manager.clear_all()} report deleted. Carol's is her own: {Path(carol).exists()}."
        )
        manager.close()


if __name__ == "__main__":
    main()
