"""
How files go: what is due, what is named, what makes room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..capacity import EvictionReport
from ..cleanup import Cause, CleanupReport
from ..deletion import origin_of
from ..filesystem import beginning
from ..reconciliation import disk_identity_of, verify_unverified
from ..records import Deletion, FileRecord
from ..registry import DISK
from ..validation import validate_tags
from .local_volume import Connected
from .results import BatchResult, FileResult, of_deletions


class Deleting(Connected):
    """Clean up and evict."""

    def cleanup(self, force: bool = False) -> int:
        """
        Delete what is due in this volume, whoever registered it; with *force* everything that was registered before
        this call, save held files and those in quarantine (see ``purge_quarantine``). Returns how many files this call
        removed.

        A file that cannot be deleted keeps its record and is tried again later. Raises as ``Cleaner.clean_due``.
        """
        return self.cleanup_report(force=force).deleted

    def clear_all(self) -> int:
        """The same as ``cleanup(force=True)``."""
        return self.cleanup(force=True)

    def cleanup_report(
        self,
        *,
        force: bool = False,
        tags: Sequence[str] = (),
        prefix: str = "",
        progress: Callable[[CleanupReport], None] | None = None,
    ) -> CleanupReport:
        """
        As ``cleanup``; returns all that is known of what it did.

        Args:
            tags: only files that have all of these.
            prefix: only paths that begin so; relative to the working directory, as a path is.
        """
        if tags or prefix:
            wanted = partial(FileRecord.matches, tags=validate_tags(tags), prefix=beginning(prefix))
            cause = Cause.FORCED if force else Cause.EXPIRED
            return self.cleaner.clean_matching(wanted, cause, progress=progress)
        clean = self.cleaner.clean_all if force else self.cleaner.clean_due
        return clean(progress=progress)

    def purge_quarantine(
        self,
        *,
        tags: Sequence[str] = (),
        prefix: str = "",
        progress: Callable[[CleanupReport], None] | None = None,
    ) -> CleanupReport:
        """
        Delete what is in quarantine without waiting for its grace period to end; none of it can be restored then. What
        was not deleted yet stays as it is.

        Args:
            tags: only files that have all of these.
            prefix: only files from paths that begin so.
        """
        wanted = partial(_is_quarantined, tags=validate_tags(tags), prefix=beginning(prefix))
        return self.cleaner.clean_matching(wanted, Cause.PURGED, progress=progress)

    def cleanup_batch(
        self, *, force: bool = False, tags: Sequence[str] = (), prefix: str = ""
    ) -> BatchResult:
        """As ``cleanup_report``; returns what became of each file."""
        found: list[FileResult] = []
        report = self.cleanup_report(
            force=force,
            tags=tags,
            prefix=prefix,
            progress=lambda so_far: found.extend(of_deletions(so_far.latest, so_far.latest_aside)),
        )
        return BatchResult(found, report.seconds)

    def evict(
        self, *, dry_run: bool = False, progress: Callable[[int], None] | None = None
    ) -> EvictionReport:
        """
        Delete files before their time, if a file system of this volume is fuller than TEMP_FILE_EVICT_ABOVE (or memory
        than TEMP_FILE_EVICT_MEMORY_ABOVE, for what lies in it), until it is down to the low mark.

        They go in the order of TEMP_FILE_EVICTION_POLICY, without a grace period; what is held, in use or not
        registered stays. Below the marks, and without any, nothing happens. Workers do this by themselves.

        Args:
            dry_run: change nothing; the report's ``files`` are those that evicting would delete now.
            progress: told after each batch how many files went so far.

        Raises:
            VolumeUnavailable, RegistryUnavailable: what was deleted by then stays deleted, and is accounted for.
        """
        return self.evictor.evict(dry_run=dry_run, names=True, progress=progress)

    def preview(
        self, *, force: bool = False, tags: Sequence[str] = (), prefix: str = "", quarantine: bool = False
    ) -> Iterator[Deletion]:
        """
        What ``cleanup_report``, or with *quarantine* ``purge_quarantine``, would do now with these arguments, file by
        file; changes nothing. A file that would be set aside for its grace period has the outcome ``deleted`` and the
        reason ``quarantine``.
        """
        if quarantine:
            aside = partial(_is_quarantined, tags=validate_tags(tags), prefix=beginning(prefix))
            return self.cleaner.preview(Cause.PURGED, aside)
        wanted = partial(FileRecord.matches, tags=validate_tags(tags), prefix=beginning(prefix))
        return self.cleaner.preview(Cause.FORCED if force else Cause.EXPIRED, wanted)

    def accept_disk(self) -> None:
        """
        Say that the base directory is the right one, after the registry was found to have files on another disk (see
        disk.py). Records of files that are not here are dropped at their deadlines.
        """
        self.registry.set_meta(DISK, disk_identity_of(self.roots))

    def verify_unverified(self) -> int:
        """
        Look at the files that were recorded for this host while it was silent; how many are there. See unseen.py.
        """
        return verify_unverified(self.registry, self.roots, self.settings)


def _is_quarantined(record: FileRecord, *, tags: Sequence[str], prefix: str) -> bool:
    """Whether it is in quarantine, and matches by the path that it had before."""
    return (
        record.is_quarantined
        and record.matches(tags=tags)
        and (origin_of(record.path) or record.path).startswith(prefix)
    )
