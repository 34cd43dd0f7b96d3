"""
Which processes of this host have a file open, like ``lsof``; for the doctor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..logs import printable

T = TypeVar("T")


def processes_using(paths: set[str], proc: Path = Path("/proc")) -> dict[str, list[str]]:
    """
    Returns, for each of *paths* that is open, the processes that have it open, as ``name (pid)``. Only root sees the
    processes of other users. Empty if there is no /proc.
    """
    processes: dict[str, list[str]] = {}
    if not paths:
        return processes
    for process in _entries(proc):
        if process.name.isdigit():
            for path in paths & {_link(entry) for entry in _entries(process / "fd")}:
                processes.setdefault(path, []).append(f"{_name(process)} ({process.name})")
    return processes


def _entries(directory: Path) -> list[Path]:
    return _or_default(lambda: list(directory.iterdir()), [])


def _link(entry: Path) -> str:
    return _or_default(lambda: os.readlink(entry), "")


def _name(process: Path) -> str:
    return printable(_or_default(lambda: (process / "comm").read_text().strip(), "?"))


def _or_default(read: Callable[[], T], default: T) -> T:
    """*default* if the process has ended or belongs to another user."""
    try:
        return read()
    except OSError:
        return default
