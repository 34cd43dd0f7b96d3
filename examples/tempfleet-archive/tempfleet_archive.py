"""
An example of a plug-in: a ledger of deletions, and a veto for files that must stay.

- Files with the tag ``legal``, and files with a ``NAME.keep`` beside them, are not deleted.
- Each deletion and each failure is a line of JSON in the ledger, if TEMPFLEET_ARCHIVE_LEDGER is set.
- Files close to expiry are logged.
- ``smallest`` is an eviction policy: small files are evicted first.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from tempfleet import Deletion, FileRecord
from tempfleet.plugins import hookimpl

LEDGER = "TEMPFLEET_ARCHIVE_LEDGER"
KEPT_TAG = "legal"
KEPT_SUFFIX = ".keep"

logger = logging.getLogger("tempfleet_archive")


@hookimpl
def tempfleet_before_delete(files: Sequence[FileRecord]) -> list[str]:
    """
    Returns the paths of the files to keep.

    It changes nothing, so it can be called at any time, also for a dry run. If it raises, all *files* stay. That is
    right here, so there is no try block.
    """
    return [file.path for file in files if KEPT_TAG in file.tags or os.path.lexists(file.path + KEPT_SUFFIX)]


@hookimpl
def tempfleet_after_delete(deletions: Sequence[Deletion]) -> None:
    _write(deletions)


@hookimpl
def tempfleet_on_failure(deletions: Sequence[Deletion]) -> None:
    _write(deletions)


@hookimpl
def tempfleet_near_expiry(files: Sequence[FileRecord]) -> None:
    """Called at least once for each file. To count files, tell them apart by path and registration."""
    for file in files:
        logger.info("Soon to be deleted: %r", file.path)


@hookimpl
def tempfleet_eviction_policies() -> dict[str, Callable[[Any], float]]:
    return {"smallest": lambda candidate: candidate.size_bytes}


def _write(deletions: Sequence[Deletion]) -> None:
    """
    Appends all lines with one write, so that lines of several workers never mix. JSON escapes control characters in a
    file name, so no name can forge a line.
    """
    ledger = os.environ.get(LEDGER)
    if not ledger:
        return
    text = "".join(json.dumps(_line(deletion)) + "\n" for deletion in deletions)
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _line(deletion: Deletion) -> dict[str, object]:
    return {
        "at": round(time.time(), 3),
        "path": deletion.path,
        "outcome": deletion.outcome,
        "reason": deletion.reason,
        "freed_bytes": deletion.freed_bytes,
        "registered_ms": deletion.record.registered_ms,
        "size_bytes": deletion.record.size_bytes,
        "tags": deletion.record.tags,
    }
