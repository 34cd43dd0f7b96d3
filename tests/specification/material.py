"""Helpers for the tests of several sections."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tempfleet import TempFileManager
from tempfleet.deletion import failpoints as faults

New = Callable[..., TempFileManager]


def temporary_file(suffix: str = ".txt", content: str = "") -> str:
    """Creates a file as every example does: by the standard library, outside the base directory, kept when closed."""
    with tempfile.NamedTemporaryFile(mode="w", suffix=suffix, delete=False) as file:
        file.write(content)
    return os.path.realpath(file.name)


def registered(manager: TempFileManager, count: int, suffix: str = ".txt", content: str = "") -> list[Path]:
    """Creates *count* files as ``temporary_file`` does, and registers them one by one."""
    paths = [temporary_file(f"_{i}{suffix}", content) for i in range(count)]
    for path in paths:
        manager.register_file(path)
    return [Path(path) for path in paths]


def exist(paths: list[Path]) -> int:
    """Returns the number of *paths* that exist."""
    return sum(path.exists() for path in paths)


@contextmanager
def undeletable(times: int = -1) -> Iterator[None]:
    """Makes the first *times* deletions fail with EACCES; by default, every deletion."""
    remaining = [times]

    def refuse(point: str) -> None:
        if point == "guarded.found" and remaining[0]:
            remaining[0] -= 1
            raise PermissionError(13, "denied")

    faults.install(refuse)
    try:
        yield
    finally:
        faults.install(None)
