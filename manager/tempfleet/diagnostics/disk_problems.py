"""
Problems that only a process with the disk can measure: the second half of the list in problems.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from ..errors import VolumeUnavailable
from ..filesystem import Roots, meaning_of
from ..logs import printable
from .finding import Finding, Level
from .problem import Problem, error, warning

SCARCE, EXHAUSTED = 0.10, 0.02
"""Below these free shares of a file system, or of Redis's memory, there is a warning or an error."""


def disk_problems(roots: Roots, missing: Mapping[str, str]) -> list[Problem]:
    """
    Args:
        missing: the roots that are not available, and why; they are not touched.
    """
    rights = _rights(roots) if roots.base.path not in missing else ()
    return [*_unavailable(missing), *rights, *_full(roots, missing)]


def _unavailable(missing: Mapping[str, str]) -> Iterator[Problem]:
    for root, why in missing.items():
        yield warning(
            "root-unavailable",
            "permissions",
            f"Root {printable(root)} is unavailable: {why}",
            meaning_of(why).todo or "Create it, mount it, or remove it from TEMP_FILE_ALLOWED_ROOTS.",
        )


def _rights(roots: Roots) -> Iterator[Problem]:
    if why := roots.no_rights():
        yield error(
            "no-rights",
            "permissions",
            f"Nothing can be deleted in {printable(roots.base.path)}: {why}; run as its owner",
        )


def free_share(roots: Roots, missing: Mapping[str, str]) -> float:
    """The smallest free share, of bytes or inodes, of the file systems of the roots that are available."""
    shares = (amount.share for _, amounts in _free(roots, missing) for amount in amounts)
    return max(min(shares, default=1.0), 0.0)


def _full(roots: Roots, missing: Mapping[str, str]) -> Iterator[Problem]:
    for root, amounts in _free(roots, missing):
        for amount in amounts:
            finding = amount.finding(root)
            if finding.level is Level.ERROR:
                yield error("disk-full", finding.check, finding.said, finding.todo)


def _free(roots: Roots, missing: Mapping[str, str]) -> Iterator[tuple[str, list[FreeAmount]]]:
    """The free amounts of each file system, once, with the first root on it."""
    systems = {root.device: root for root in reversed(list(roots)) if root.path not in missing}
    for root in systems.values():
        try:
            yield root.path, free_amounts(root.calls.ask(partial(os.fstatvfs, root.fd)))
        except (OSError, VolumeUnavailable):
            continue  # the next check of the roots reports it


class FreeAmount(NamedTuple):
    """The free share of one resource of a file system."""

    check: str
    share: float
    todo: str

    def finding(self, root: str) -> Finding:
        return percentage(self.check, self.share, f"of the file system of {printable(root)}", self.todo)


def free_amounts(status: os.statvfs_result) -> list[FreeAmount]:
    """The free bytes and inodes. A file system that does not count inodes, or has no limit of bytes, has 0 in total."""
    todo = "Clean up, set TEMP_FILE_EVICT_ABOVE, or lower {} or TEMP_FILE_MAX_AGE."
    amounts = (
        ("disk space", status.f_bavail, status.f_blocks, todo.format("TEMP_FILE_MAX_BYTES")),
        ("inodes", status.f_favail, status.f_files, todo.format("MAX_TEMP_FILES")),
    )
    return [FreeAmount(check, free / total, todo) for check, free, total, todo in amounts if total]


def percentage(check: str, share: float, of: str, todo: str) -> Finding:
    level = Level.ERROR if share < EXHAUSTED else Level.WARNING if share < SCARCE else Level.OK
    return Finding(check, level, f"{max(share, 0):.0%} {of} is free", todo if level is not Level.OK else "")
