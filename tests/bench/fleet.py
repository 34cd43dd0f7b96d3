"""
The whole way of a file, on a private server: register, claim, check, unlink, ack.

The peers, in the same run and on the same files: a pipeline of bare ZADD for registering, ``rm -rf`` and a loop of
``os.unlink`` for cleaning. Medians of several rounds, because machines are shared and noisy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import redis

from tempfleet import Settings, TempFileManager, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import NewFile
from tempfleet.registry.connection import connect
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store

FILES = 10_000
RECORDS = 300_000
ROUNDS = 5
SIZE_BYTES = 1024


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as top, EmbeddedServer.start(Path(top, "redis")) as server:
        client = connect(server.unix_url)
        yield from _registering(client)
        for threads in (1, 4):
            yield from _cleaning(server.unix_url, Path(top), threads)
        yield from _a_large_registry(client)


def _registering(client: redis.Redis) -> Iterator[str]:
    files = [NewFile(f"/var/tmp/reports/{i:060}", 3_600_000, SIZE_BYTES, "i") for i in range(FILES)]
    registry = Registry(Store(client), Volume("bench", "/var/tmp/reports"))
    ours, theirs = [], []
    for _ in range(ROUNDS):
        client.flushall()
        ours.append(_seconds(lambda: registry.register(files)))
        client.flushall()
        theirs.append(_seconds(lambda: _bare_zadd(client, files)))
    rate, ratio = FILES / statistics.median(ours), statistics.median(theirs) / statistics.median(ours)
    yield f"register, 1,000 a script      {rate:10,.0f} files/s   {ratio:.2f} of a pipeline of bare ZADD"


def _bare_zadd(client: redis.Redis, files: list[NewFile]) -> None:
    for start in range(0, len(files), 1000):
        pipeline = client.pipeline(transaction=False)
        for file in files[start : start + 1000]:
            pipeline.zadd("bare", {file.path: file.ttl_ms})
        pipeline.execute()


def _cleaning(url: str, top: Path, threads: int) -> Iterator[str]:
    base = top / f"base{threads}"
    settings = Settings.load(base_dir=str(base), redis_url=url, host="bench", threads=threads)
    ours, loops, removals = [], [], []
    with TempFileManager(settings=settings) as manager:
        for _ in range(ROUNDS):
            loops.append(_seconds(partial(_unlink_all, _write(top / "loop"))))
            _write(top / "rm")
            removals.append(_seconds(lambda: subprocess.run(["rm", "-rf", str(top / "rm")], check=True)))
            manager.register_many(_write(base), ttl=0.001)
            ours.append(_seconds(manager.cleanup))
            assert len(manager.files) == 0
    rate, mine = FILES / statistics.median(ours), statistics.median(ours)
    of_loop, of_rm = statistics.median(loops) / mine, statistics.median(removals) / mine
    yield (
        f"clean up, {threads} thread(s)         {rate:10,.0f} files/s   {of_loop:.2f} of os.unlink, "
        f"{of_rm:.2f} of rm -rf (named files of {SIZE_BYTES} bytes, guarded, audit log on)"
    )


def _unlink_all(paths: list[str]) -> None:
    for path in paths:
        os.unlink(path)


def _write(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    paths = [str(directory / f"{i}") for i in range(FILES)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(b"x" * SIZE_BYTES)
    return paths


def _a_large_registry(client: redis.Redis) -> Iterator[str]:
    client.flushall()
    registry = Registry(Store(client), Volume("bench", "/var/tmp/reports"))
    before = client.info("memory")["used_memory"]
    for start in range(0, RECORDS, 10_000):
        registry.register(
            [NewFile(f"/var/tmp/reports/{i:064}", 1, SIZE_BYTES, "g1a2b3.18ead241d6e222ea.0100") for i in
             range(start, start + 10_000)]
        )  # fmt: skip
    a_record = (client.info("memory")["used_memory"] - before) / RECORDS
    times = [_seconds(lambda: registry.claim(limit=500, lease_ms=60_000)) * 1000 for _ in range(20)]
    yield f"memory                        {a_record:10,.0f} B a record  (paths of 80 bytes, {RECORDS:,} records)"
    yield f"claim 500 of {RECORDS:,}          {statistics.median(times):10.1f} ms          (round trip included)"


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
