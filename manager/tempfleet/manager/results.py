"""
The results of a batch, by file and in total. The calls of the specification return plain counts; these add the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FileMissing, TempfleetError
from ..records import GONE, Deletion, FileRecord, Outcome

REGISTERED, REJECTED, SET_ASIDE = "registered", "refused", "set_aside"


@dataclass(frozen=True, slots=True)
class FileResult:
    """
    The result of one file.

    Attributes:
        outcome: ``registered``, ``refused``, ``set_aside`` (quarantined), or one of Outcome's words.
        reason: why the call failed for this file; "" if it did not.
        size_bytes: the size of a registered file, or the bytes freed by a deleted one.
    """

    path: str
    outcome: str
    reason: str = ""
    size_bytes: int = 0


@dataclass(slots=True)
class BatchResult:
    """
    The results of a batch, in its order, and the duration.

    Attributes:
        files: one FileResult per file.
        seconds: the duration of the batch.
    """

    files: list[FileResult] = field(default_factory=list)
    seconds: float = 0.0

    def _count(self, *outcomes: str) -> int:
        return sum(result.outcome in outcomes for result in self.files)

    @property
    def registered(self) -> int:
        return self._count(REGISTERED)

    @property
    def deleted(self) -> int:
        return self._count(Outcome.DELETED)

    @property
    def missing(self) -> int:
        """The number of files that did not exist."""
        return self._count(Outcome.MISSING)

    @property
    def failed(self) -> int:
        """The number of unchanged files: refused, in use, not deletable, or on an unavailable disk."""
        success = (REGISTERED, SET_ASIDE, *GONE, Outcome.REWRITTEN)
        return len(self.files) - self._count(*success)

    @property
    def bytes(self) -> int:
        """The size of the registered files, or the freed bytes."""
        return sum(result.size_bytes for result in self.files)

    def as_dict(self) -> dict[str, Any]:
        return {
            "registered": self.registered,
            "deleted": self.deleted,
            "missing": self.missing,
            "failed": self.failed,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "outcomes": dict(Counter(result.outcome for result in self.files)),
        }


def of_records(records: Iterable[FileRecord]) -> list[FileResult]:
    return [FileResult(record.path, REGISTERED, size_bytes=record.size_bytes) for record in records]


def of_errors(errors: Mapping[str, TempfleetError]) -> list[FileResult]:
    return [
        FileResult(path, Outcome.MISSING.value if isinstance(exc, FileMissing) else REJECTED, str(exc))
        for path, exc in errors.items()
    ]


def of_deletions(deletions: Iterable[Deletion], quarantined: Iterable[FileRecord]) -> list[FileResult]:
    results = [
        FileResult(deletion.path, deletion.outcome.value, deletion.reason, deletion.freed_bytes)
        for deletion in deletions
    ]
    return results + [FileResult(record.path, SET_ASIDE) for record in quarantined]
