"""
Files are registered, renewed and held in directories while other processes delete those directories. None goes early.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import redis

from support import assert_balanced, python
from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import Flag

ROUNDS = 100

COMMON = """
import itertools, json, os, sys
from tempfleet import Settings, TempFileManager, TempfleetError
url, data, base, role, name, rounds = sys.argv[1:]
settings = Settings.load(base_dir=base, host="web-1", redis_url=url, allowed_roots=(data,), in_use="delete",
                         batch_size=7, quarantine_seconds=600 if name == "quarantine" else 0)
manager = TempFileManager(base, 600, settings=settings)
print("ready", flush=True)
"""

CLEAN = (
    COMMON
    + """
import select
deleted = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    report = manager.cleanup_report()
    deleted += report.deleted + report.set_aside
print(json.dumps(deleted))
"""
)

PROMISE = (
    COMMON
    + """
sys.stdin.readline()
kept, refused = [], 0
for n in range(int(rounds)):
    directory = os.path.join(data, f"{name}-{n}")
    path = os.path.join(directory, "a", "b", "file")
    try:
        os.makedirs(os.path.dirname(path))
        other = manager.create_dir(ttl=0.002) if n % 3 == 2 else None
        if other is not None:
            path = os.path.join(other.path, "file")
        elif n % 3:
            manager.register(directory, directory=True, ttl=0.002)
        open(path, "w").close()
        if role == "register":
            if n % 3 == 0:
                manager.register(directory, directory=True, ttl=0.002)
            manager.register(path)
        else:
            manager.register(path, ttl=0.002)
            if n % 3 == 0:
                manager.register(directory, directory=True, ttl=0.002)
            manager.renew(path) if role == "renew" else manager.hold(path, 600)
        kept.append(path)
    except (TempfleetError, FileNotFoundError):
        refused += 1
print(json.dumps([kept, refused]))
"""
)


def test_no_file_goes_early_while_its_directory_is_being_deleted(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    data, base = tmp_path / "data", tmp_path / "base"
    data.mkdir()

    def start(code: str, directory: Path, role: str, name: str) -> subprocess.Popen[str]:
        process = python(code, real_server.unix_url, data, directory, role, name, ROUNDS)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    cleaners = [start(CLEAN, base, "clean", name) for name in ("plain", "quarantine")]
    registrants = [
        start(PROMISE, directory, role, f"{role}-{directory.name}")
        for role in ("register", "renew", "hold")
        for directory in (base, tmp_path / "other")
    ]
    results = []
    for process in registrants:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in registrants:
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        results.append(json.loads(out))
    deleted = 0
    for process in cleaners:
        out, _ = process.communicate("\n", timeout=60)
        deleted += json.loads(out)
    kept = [path for paths, _ in results for path in paths]
    refused = sum(count for _, count in results)
    assert [path for path in kept if not os.path.exists(path)] == []
    assert len(kept) + refused == ROUNDS * len(registrants)
    # Otherwise nothing was raced for.
    assert len(kept) > ROUNDS // 2
    assert deleted > ROUNDS // 5
    settings = Settings.load(base_dir=str(base), host="web-1", redis_url=real_server.unix_url, audit_log="")
    with TempFileManager(base, settings=settings) as manager:
        assert_balanced(manager)
        assert not any(Flag.BEGUN in record.flags for record in manager.records())
    manager.close()
