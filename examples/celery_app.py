"""
A shop's Celery app. Its task writes invoices, and hands each over to Tempfleet with a message, by name: it imports
nothing of Tempfleet. Some worker of the fleet takes the message; one on the host that has the file deletes it in time.

    python examples/celery_app.py

This program starts both workers, the shop's and the fleet's, orders five invoices and watches them come and go.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import Celery

HOST = "shop-1"

app = Celery("shop")  # its broker is that of CELERY_BROKER_URL
app.conf.update(task_default_queue="shop", task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="shop.invoice")
def invoice(folder: str, number: int) -> None:
    """Write an invoice that may be fetched for a second."""
    path = Path(folder, f"invoice-{number}.txt")
    path.write_text(f"Invoice {number}: 3 chairs.\n")
    app.send_task("tempfleet.register", args=[str(path)], kwargs={"host": HOST, "ttl": 1}, queue="tempfleet")


def start_worker(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", module, "worker", "--loglevel=ERROR", *arguments]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL)


def watch(folder: Path, wanted: int) -> None:
    """Tell how many invoices there are, whenever that changes, until *wanted* have come and gone."""
    seen: set[Path] = set()
    last = 0
    deadline = time.monotonic() + 60
    while len(seen) < wanted or last:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{last} of {len(seen)} invoices are still there")
        there = set(folder.glob("invoice-*"))
        seen |= there
        if len(there) != last:
            last = len(there)
            print(f"Invoices: {last}")
        time.sleep(0.02)


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        folder = Path(home, "invoices")
        folder.mkdir(mode=0o700)
        from tempfleet.embedded import (
            broker_url,
        )  # only this demonstration needs it: a private Redis has no port

        os.environ.update(
            CELERY_BROKER_URL=broker_url(os.environ["TEMP_FILE_REDIS_URL"]),
            TEMP_FILE_BASE_DIR=str(folder),
            TEMP_FILE_ALLOWED_ROOTS=str(folder),  # this worker has no business anywhere else
            TEMP_FILE_HOST=HOST,
            TEMP_FILE_TIMER_INTERVAL="0.5",
            ENABLE_TEMP_FILE_METRICS="off",
        )
        workers = [start_worker("celery_app", "--pool=solo", "-n", f"shop@{HOST}")]
        workers += [start_worker("tempfleet_tasks", "-n", f"tempfleet@{HOST}")]
        try:
            for number in range(5):
                invoice.apply_async(args=[str(folder), number], queue="shop")
            watch(folder, wanted=5)
            print("All five were deleted by the fleet's worker.")
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(30)


if __name__ == "__main__":
    main()
