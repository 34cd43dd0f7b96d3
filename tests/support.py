"""Helpers for several tests."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import psutil
import redis

from tempfleet import TempFileManager
from tempfleet.plugins import plugin as plugins

T = TypeVar("T")

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
"""The project's directory, wherever a test lies."""


def wait_until(condition: Callable[[], T], timeout: float = 30.0) -> T:
    """Returns the first true value of *condition*. Fails if there is none within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true within {timeout} s"
        time.sleep(0.01)
    return value


def snapshot(client: redis.Redis) -> dict[bytes, object]:
    """Returns all data of a Redis, to compare."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"string": client.get,
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*")}


def tree(top: Path) -> dict[str, tuple[int, int, int]]:
    """Returns inode, mode and size of each entry below *top*."""
    stats = {str(path): path.lstat() for path in top.rglob("*")}
    return {path: (stat.st_ino, stat.st_mode, stat.st_size) for path, stat in stats.items()}


def without_times(text: str) -> str:
    """Replaces each duration by one word and repeated spaces by one, because durations set the width of columns."""
    return re.sub(" +", " ", re.sub(r"\b\d+(\.\d+)? (ms|s|min|h|d)\b( \d+ (s|min|h)\b)?", "TIME", text))


def assert_balanced(manager: TempFileManager) -> None:
    """Check invariant 1: each file is in exactly one state, and the totals account for every file."""
    assert manager.registry.audit() == []
    assert manager.stats().imbalance == 0


def open_files() -> list[str]:
    """Returns the files and directories that this process has open; without sockets, pipes and the like."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return sorted(name for name in names if name.startswith("/"))


def kernel_locks() -> list[str]:
    """Returns the kernel's locks of this process: those of files (flock, POSIX), and leases."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [" ".join(line[1:4]) for line in lines if "->" not in line and line[4] == str(os.getpid())]


def python(code: str, *args: object, **kwargs: Any) -> subprocess.Popen[str]:
    """Start a process that runs *code* with *args* and the same modules as this one."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"},
        **kwargs,
    )


@dataclass
class Packages:
    """Packages with plug-ins, in a directory on the path, as pip would install them."""

    site: Path

    def install(self, name: str, code: str, *, version: str = "1.0", names: Sequence[str] = ()) -> None:
        """Write a package ``plugin_NAME`` with *code*. Its entry points are *names*, or NAME."""
        (self.site / f"plugin_{name}.py").write_text(textwrap.dedent(code))
        info = self.site / f"plugin_{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: {version}\n")
        lines = [f"{entry} = plugin_{name}" for entry in names or (name,)]
        (info / "entry_points.txt").write_text("[tempfleet.plugins]\n" + "\n".join(lines) + "\n")
        importlib.invalidate_caches()
        plugins._installed.cache_clear()

    def module(self, name: str) -> Any:
        """Import the package as the process under test does."""
        return sys.modules[f"plugin_{name}"]


def console_env(directory: Path, **env: str) -> dict[str, str]:
    """
    Returns the environment of a ``python -m tempfleet.cli`` that finds its plug-ins. If the project is only on the path
    and not installed, *directory* gets the metadata of an installation.
    """
    paths = [*sys.path]
    if not entry_points(group="tempfleet.commands"):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        info = directory / "installed" / "tempfleet-0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} = {where}" for name, where in project["entry-points"]["tempfleet.commands"].items()]
        (info / "entry_points.txt").write_text("[tempfleet.commands]\n" + "\n".join(lines) + "\n")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tempfleet\nVersion: 0\n")
        paths.append(str(info.parent))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEMP_FILE_")}
    return clean | {"TEMP_FILE_ENV_FILE": "", "PYTHONPATH": os.pathsep.join(filter(None, paths))} | env


def console(*args: str, env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    """Start ``tempfleet ARGS`` as a process."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tempfleet.cli", *args], env=env, text=True, **options
    )


def is_gone(process: psutil.Process) -> bool:
    """Returns whether the process has ended. A zombie counts as ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def entries(base_dir: Path) -> list[str]:
    """Returns the entries of a base directory without Tempfleet's private directory."""
    return sorted(name for name in os.listdir(base_dir) if not name.startswith(".tempfleet-"))


NOBODY = 65534


def as_nobody(work: Callable[[], T]) -> T:
    """Returns what *work* returns in a process of another user. It needs root, and imports nothing."""
    ours, theirs = multiprocessing.Pipe()

    def child() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        theirs.send(work())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    theirs.close()
    result: T = ours.recv()
    process.join()
    return result
