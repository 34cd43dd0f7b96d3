"""
Reports for customers. Each report lives for one second here, unless it is renewed, held or unregistered.

    python examples/reports.py
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tempfleet import TempFileManager


def write_report(manager: TempFileManager, customer: str) -> str:
    """Write a report for *customer* and return its path. It is registered before it exists, so it cannot leak."""
    with manager.create(prefix=f"{customer}-", suffix=".txt", mode="w+", tags=[customer]).file as file:
        file.write(f"What {customer} bought: 3 chairs, 1 table.\n")
    return file.name


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        manager = TempFileManager(f"{home}/reports", max_age=1)
        alice, bob, carol, dave = (write_report(manager, name) for name in ("alice", "bob", "carol", "dave"))
        manager.renew(alice, ttl=3600)
        manager.hold(bob, 7 * 86400, reason="complaint; keep for a week")
        manager.unregister(carol)
        for path in (alice, bob, carol, dave):
            print(manager.explain(path).sentences()[0].removeprefix(f"{home}/reports/"))

        # In a fleet the workers do this.
        while Path(dave).exists():
            time.sleep(0.1)
            manager.cleanup()
        left = sorted(path.name.partition("-")[0] for path in Path(home, "reports").glob("*.txt"))
        print(f"A second later the reports left are those of {', '.join(left)}.")

        manager.unhold(bob)
        print(f"Bob's hold has ended: {manager.cleanup()} report deleted.")
        print(
            f"Clearing all: {manager.clear_all()} report deleted. Carol's is her own: {Path(carol).exists()}."
        )
        manager.close()


if __name__ == "__main__":
    main()
