"""
An application on one host, as a process of its own. It reads one JSON document per line and answers with one.

First it writes its files. When it is told to, it registers its own files with the library, and the files of the other
host by message. For that it uses a plain Celery app and the name of the task, as an app without Tempfleet does.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator

from celery import Celery

from tempfleet import Settings, TempFileManager
from tempfleet.embedded import broker_url

SIZES = (0, 1, 700, 4_096, 30_000, 90_000)
SIZE_WEIGHTS = (1, 1, 4, 4, 3, 1)
ODD_NAMES = ("with a space", "line\nbreak", "not utf-8 \udcff", "[bold]markup[/bold]".replace("/", "-"))
BATCH = 50


def main() -> None:
    count, for_messages, *ttls = map(int, sys.argv[1:])
    settings = Settings.load()
    manager = TempFileManager(settings=settings)
    rng = random.Random(settings.host)
    lives = itertools.cycle(ttls)

    created = (count - for_messages) // 5
    own = [write(manager, f"own {n} {ODD_NAMES[n % 4]}", rng) for n in range(count - for_messages - created)]
    reports = [write(manager, f"report-{n}.bin", rng) for n in range(for_messages)]
    answer({"written": len(own) + len(reports), "for_messages": reports})

    order = json.loads(sys.stdin.readline())
    register(manager, own, lives)
    for _ in range(created):
        file = manager.create(prefix="created-", ttl=next(lives), tags=["demo"])
        file.write(content(rng))
        file.close()
    sent = send(settings, order["host"], order["paths"], lives)
    answer({"registered": len(own) + created, "sent": sent})
    # Blocks until the demo is over.
    sys.stdin.read()
    manager.close()


def write(manager: TempFileManager, name: str, rng: random.Random) -> str:
    path = os.path.join(manager.base_dir, name)
    with open(path, "xb") as file:
        file.write(content(rng))
    return path


def content(rng: random.Random) -> bytes:
    return rng.randbytes(*rng.choices(SIZES, SIZE_WEIGHTS))


def register(manager: TempFileManager, paths: list[str], lives: Iterator[int]) -> None:
    """Register a fifth of *paths* one by one, the others in batches."""
    single = len(paths) // 5
    for path in paths[:single]:
        manager.register(path, ttl=next(lives), tags=["demo"])
    for batch in batches(paths[single:]):
        manager.register_many(batch, ttl=next(lives), tags=["demo"])


def send(settings: Settings, host: str, paths: list[str], lives: Iterator[int]) -> int:
    """Register files of *host* by message: half of them one by one, the others in batches."""
    app = Celery("shop", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    half = len(paths) // 2
    for path in paths[:half]:
        app.send_task(
            "tempfleet.register",
            args=[path],
            kwargs={"host": host, "ttl": next(lives)},
            queue="tempfleet",
            serializer="json",
        )
    for batch in batches(paths[half:]):
        app.send_task(
            "tempfleet.register_many",
            args=[batch],
            kwargs={"host": host, "ttl": next(lives)},
            queue="tempfleet",
            serializer="json",
        )
    return len(paths)


def batches(paths: list[str]) -> Iterable[list[str]]:
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


def answer(document: dict[str, object]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
