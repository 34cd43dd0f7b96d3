"""
Show that the whole stack works, from inside one of its workers:

    docker compose exec worker-1 python3 /usr/local/share/tempfleet/show.py

Creates files in this container, some registered by the library and some by a message, and waits until they are
deleted here. Then checks that Flower and Prometheus have recorded it. Exits with 1 if a row is wrong.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tempfleet import Settings, TempFileManager
from tempfleet.registry import Fleet
from tempfleet_tasks import make_app

BY_LIBRARY, BY_MESSAGE = 40, 10
TTL_SECONDS = 2
PATIENCE_SECONDS = 90

FLOWER = os.environ.get("FLOWER_URL", "http://flower:5555")
PROMETHEUS = os.environ.get("PROMETHEUS_URL", "http://prometheus:9090")


def main() -> int:
    settings = Settings.load()
    manager = TempFileManager(settings=settings)
    deleted_before = manager.stats().total("deleted")
    paths = [*by_library(manager), *by_message(manager, settings)]
    expected = deleted_before + len(paths)
    rows: list[tuple[str, Callable[[], bool]]] = [
        (f"{len(paths)} files were created in {manager.base_dir} on {settings.host}", lambda: True),
        ("they are registered, or deleted already", lambda: registered(manager) >= expected),
        ("they are deleted from this disk", lambda: not any(path.exists() for path in paths)),
        ("the registry counts them as deleted", lambda: manager.stats().total("deleted") >= expected),
        ("its counts balance", lambda: manager.stats().imbalance == 0),
        (f"Flower has recorded deletions of {settings.host}", lambda: flower_recorded(settings.host)),
        ("Prometheus counts them", lambda: prometheus_counts(settings.host) >= expected),
    ]
    results = [wait_and_print(row, is_true) for row, is_true in rows]
    return 0 if all(results) else 1


def by_library(manager: TempFileManager) -> Iterator[Path]:
    for _ in range(BY_LIBRARY):
        file = manager.create(prefix="show-", ttl=TTL_SECONDS)
        file.close()
        yield Path(file.path)


def by_message(manager: TempFileManager, settings: Settings) -> Iterator[Path]:
    """
    Registers files as any other Celery app would: by task name, without Tempfleet code. An unknown host gets no
    message, so the first one waits until this host's worker is live.
    """
    fleet = Fleet(manager.store, live_seconds=settings.host_live_seconds)
    wait_and_print(f"the worker of {settings.host} is live", lambda: settings.host in fleet.live_hosts())
    with make_app(settings) as app:
        for i in range(BY_MESSAGE):
            path = Path(manager.base_dir, f"show-{os.getpid()}-{i}")
            path.write_bytes(b"x" * 1000)
            kwargs = {"host": settings.host, "ttl": TTL_SECONDS}
            app.send_task(
                "tempfleet.register",
                args=[str(path)],
                kwargs=kwargs,
                queue=settings.namespace,
                serializer="json",
            )
            yield path


def registered(manager: TempFileManager) -> int:
    return manager.stats().total("registered")


def flower_recorded(host: str) -> bool:
    """Reads Flower's own counters: events of the task that deletes, from this host's worker."""
    counter = rf'flower_events_total\{{task="tempfleet.delete_due",type="task-succeeded",worker="\S+@{host}"\}} (\S+)'
    match = re.search(counter, read(f"{FLOWER}/metrics"))
    return match is not None and float(match[1]) >= 1


def prometheus_counts(host: str) -> float:
    query = urllib.parse.urlencode(
        {"query": f'sum(max by (volume) (temp_files_cleaned_total{{host="{host}"}}))'}
    )
    series = json.loads(read(f"{PROMETHEUS}/api/v1/query?{query}"))["data"]["result"]
    return float(series[0]["value"][1]) if series else 0.0


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


def wait_and_print(row: str, is_true: Callable[[], bool]) -> bool:
    """Waits until *row* is true, and prints it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := try_row(is_true)) and time.monotonic() < deadline:
        time.sleep(0.2)
    print(f"{'ok  ' if result else 'FAIL'}  {row}", flush=True)
    return result


def try_row(is_true: Callable[[], bool]) -> bool:
    try:
        return is_true()
    except OSError:
        # The server is still starting.
        return False


if __name__ == "__main__":
    sys.exit(main())
