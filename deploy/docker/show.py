"""
Show the whole stack at work, from inside one of its workers:

    docker compose exec worker-1 python3 /usr/local/share/tempfleet/show.py

Makes files in this container, some registered by the library and some by a message; waits until they are deleted
here; then asks Flower and Prometheus whether they saw it. Exit status 0 only if every row is right.
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
from tempfleet.registry.fleet import Fleet
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
    made = [*by_library(manager), *by_message(manager, settings)]
    expected = deleted_before + len(made)
    rows: list[tuple[str, Callable[[], bool]]] = [
        (f"{len(made)} files were made in {manager.base_dir} on {settings.host}", lambda: True),
        ("they are registered, or deleted already", lambda: registered(manager) >= expected),
        ("they are gone from this disk", lambda: not any(path.exists() for path in made)),
        ("the registry counts them as deleted", lambda: manager.stats().total("deleted") >= expected),
        ("its counts balance", lambda: manager.stats().imbalance == 0),
        (f"Flower saw {settings.host} delete", lambda: flower_saw(settings.host)),
        ("Prometheus counts them", lambda: prometheus_counts(settings.host) >= expected),
    ]
    right = [told(says, holds) for says, holds in rows]
    return 0 if all(right) else 1


def by_library(manager: TempFileManager) -> Iterator[Path]:
    for _ in range(BY_LIBRARY):
        with_file = manager.create(prefix="show-", ttl=TTL_SECONDS)
        with_file.close()
        yield Path(with_file.path)


def by_message(manager: TempFileManager, settings: Settings) -> Iterator[Path]:
    """
    As any other Celery app would do it: by the task's name, with nothing of ours installed. A host that nobody has
    heard of yet gets no message, so the first one waits until this host's worker has spoken.
    """
    fleet = Fleet(manager.store, live_seconds=settings.host_live_seconds)
    told(f"the worker of {settings.host} is live", lambda: settings.host in fleet.live_hosts())
    with make_app(settings) as app:
        for i in range(BY_MESSAGE):
            path = Path(manager.base_dir, f"show-{os.getpid()}-{i}")
            path.write_bytes(b"x" * 1000)
            kwargs = {"host": settings.host, "ttl": TTL_SECONDS}
            app.send_task("tempfleet.register", args=[str(path)], kwargs=kwargs, queue=settings.namespace)
            yield path


def registered(manager: TempFileManager) -> int:
    return manager.stats().total("registered")


def flower_saw(host: str) -> bool:
    """Flower's own counters: events of the task that deletes, from this host's worker."""
    counted = rf'flower_events_total\{{task="tempfleet.delete_due",type="task-succeeded",worker="\S+@{host}"\}} (\S+)'
    found = re.search(counted, ask(f"{FLOWER}/metrics"))
    return found is not None and float(found[1]) >= 1


def prometheus_counts(host: str) -> float:
    query = urllib.parse.urlencode(
        {"query": f'sum(max by (volume) (temp_files_cleaned_total{{host="{host}"}}))'}
    )
    found = json.loads(ask(f"{PROMETHEUS}/api/v1/query?{query}"))["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def told(says: str, holds: Callable[[], bool]) -> bool:
    """Wait for a row to come true, and print it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (right := held(holds)) and time.monotonic() < deadline:
        time.sleep(0.2)
    print(f"{'ok  ' if right else 'FAIL'}  {says}", flush=True)
    return right


def held(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except OSError:  # not up yet
        return False


if __name__ == "__main__":
    sys.exit(main())
