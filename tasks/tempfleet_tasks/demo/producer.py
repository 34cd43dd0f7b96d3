"""
An application on one host, as a process of its own. It reads one JSON document a line and answers with one.

First it writes its files. Told to go, it registers its own through the library, and asks for those of the other
host by message: with a bare Celery app, by the task's name, as an application does that has nothing of ours.
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
    others = [write(manager, f"report-{n}.bin", rng) for n in range(for_messages)]
    answer({"written": len(own) + len(others), "for_messages": others})

    order = json.loads(sys.stdin.readline())
    register(manager, own, lives)
    for _ in range(created):
        file = manager.create(prefix="created-", ttl=next(lives), tags=["demo"])
        file.write(content(rng))
        file.close()
    sent = send(settings, order["host"], order["paths"], lives)
    answer({"registered": len(own) + created, "sent": sent})
    sys.stdin.read()  # until the demo is over
    manager.close()


def write(manager: TempFileManager, name: str, rng: random.Random) -> str:
    path = os.path.join(manager.base_dir, name)
    with open(path, "xb") as file:
        file.write(content(rng))
    return path


def content(rng: random.Random) -> bytes:
    return rng.randbytes(*rng.choices(SIZES, SIZE_WEIGHTS))


def register(manager: TempFileManager, paths: list[str], lives: Iterator[int]) -> None:
    """Most by the many, some one by one."""
    single = len(paths) // 5
    for path in paths[:single]:
        manager.register(path, ttl=next(lives), tags=["demo"])
    for batch in batches(paths[single:]):
        manager.register_many(batch, ttl=next(lives), tags=["demo"])


def send(settings: Settings, host: str, paths: list[str], lives: Iterator[int]) -> int:
    """Ask by message for files that are on *host*; half of them one by one."""
    app = Celery("shop", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    half = len(paths) // 2
    for path in paths[:half]:
        app.send_task(
            "tempfleet.register", args=[path], kwargs={"host": host, "ttl": next(lives)}, queue="tempfleet"
        )
    for batch in batches(paths[half:]):
        app.send_task(
            "tempfleet.register_many",
            args=[batch],
            kwargs={"host": host, "ttl": next(lives)},
            queue="tempfleet",
        )
    return len(paths)


def batches(paths: list[str]) -> Iterable[list[str]]:
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


def answer(document: dict[str, object]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
