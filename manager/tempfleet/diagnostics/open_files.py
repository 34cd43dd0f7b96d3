"""
Which processes of this host have a file open: what ``lsof`` tells, for the doctor.
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
    Which processes have *paths* open, as ``name (pid)``; of other users' processes only root learns it. Nothing
    where there is no /proc.
    """
    found: dict[str, list[str]] = {}
    if not paths:
        return found
    for process in _listed(proc):
        if process.name.isdigit():
            for path in paths & {_link(entry) for entry in _listed(process / "fd")}:
                found.setdefault(path, []).append(f"{_name(process)} ({process.name})")
    return found


def _listed(directory: Path) -> list[Path]:
    return _or_nothing(lambda: list(directory.iterdir()), [])


def _link(entry: Path) -> str:
    return _or_nothing(lambda: os.readlink(entry), "")


def _name(process: Path) -> str:
    return printable(_or_nothing(lambda: (process / "comm").read_text().strip(), "?"))


def _or_nothing(look: Callable[[], T], nothing: T) -> T:
    """Processes end and belong to others while one looks."""
    try:
        return look()
    except OSError:
        return nothing
