"""
A shop's Celery app. Its task writes invoices and registers each one with a message, by task name. The app imports no
Tempfleet code. A worker of the fleet receives the message. A worker on the host that has the file deletes it in time.

    python examples/celery_app.py

This program starts a worker of the shop and one of the fleet, orders five invoices, and waits until they are deleted.
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

# The broker is that of CELERY_BROKER_URL.
app = Celery("shop")
app.conf.update(task_default_queue="shop", task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="shop.invoice")
def invoice(folder: str, number: int) -> None:
    """Write an invoice that lives for one second."""
    path = Path(folder, f"invoice-{number}.txt")
    path.write_text(f"Invoice {number}: 3 chairs.\n")
    app.send_task(
        "tempfleet.register",
        args=[str(path)],
        kwargs={"host": HOST, "ttl": 1},
        queue="tempfleet",
        serializer="json",
    )


def start_worker(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", module, "worker", "--loglevel=ERROR", *arguments]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL)


def watch(folder: Path, wanted: int) -> None:
    """Print the number of invoices whenever it changes, until *wanted* invoices were written and deleted."""
    written: set[Path] = set()
    count = 0
    deadline = time.monotonic() + 60
    while len(written) < wanted or count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} of {len(written)} invoices are still there")
        invoices = set(folder.glob("invoice-*"))
        written |= invoices
        if len(invoices) != count:
            count = len(invoices)
            print(f"Invoices: {count}")
        time.sleep(0.02)


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        folder = Path(home, "invoices")
        folder.mkdir(mode=0o700)
        # Only this demonstration needs it, because a private Redis has no port.
        from tempfleet.embedded import broker_url

        os.environ.update(
            CELERY_BROKER_URL=broker_url(os.environ["TEMP_FILE_REDIS_URL"]),
            TEMP_FILE_BASE_DIR=str(folder),
            # This worker deletes nowhere else.
            TEMP_FILE_ALLOWED_ROOTS=str(folder),
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
            print("The fleet's worker has deleted all five.")
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(30)


if __name__ == "__main__":
    main()
