"""Small things that several tests need."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import redis

from tempfleet import TempFileManager

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """The first true value of *condition*; an AssertionError when there was none within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true within {timeout} s"
        time.sleep(0.01)
    return value


def snapshot(client: redis.Redis) -> dict[bytes, object]:
    """Everything that a Redis holds, to compare."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"string": client.get,
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*")}


def tree(top: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry below *top*: inode, mode and size."""
    found = {str(path): path.lstat() for path in top.rglob("*")}
    return {path: (stat.st_ino, stat.st_mode, stat.st_size) for path, stat in found.items()}


def assert_balanced(manager: TempFileManager) -> None:
    """Invariant 1: every file in exactly one state, and everything that ever entered accounted for."""
    assert manager.registry.audit() == []
    assert manager.stats().imbalance == 0


def python(code: str, *args: object, **kwargs: Any) -> subprocess.Popen[str]:
    """A process that runs *code* with *args*, with the same modules as this one."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"},
        **kwargs,
    )
