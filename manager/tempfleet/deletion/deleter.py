"""``Deleter``: chooses the way for each record, and returns one outcome for each, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

from ..errors import VolumeUnavailable
from ..filesystem import PREFIX, Roots, Use, outcome_of
from ..records import NO_IDENTITY, Deletion, FileRecord, Flag, NewFile, Outcome
from ..records import Way as Word
from ..settings import Settings
from . import restore
from .audit import AuditLines, AuditLog, unheld_line
from .direct import Direct
from .footprint import Footprint, footprint_of
from .guarded import Guarded
from .moving import NotPutBack
from .outcome_log import log
from .plan import Quarantined, Way, carry_out
from .promises import REFILLED, UNFINISHED, NoRegistry, Promises, WithoutRecord
from .quarantine import Purge, Quarantine
from .reading import predicted, reading
from .recovery import Recovered, is_moved, is_moving, recover
from .restore import QuarantinedFile
from .rewrite import or_rewritten
from .session import Session, ShareOver, Stopped, unbounded

_DIRECT, _GUARDED, _QUARANTINE, _PURGE = Direct(), Guarded(), Quarantine(), Purge()
_IN_PRIVATE = "/" + PREFIX
_UNAVAILABLE, _NOT_ASKED = Outcome.UNAVAILABLE, Use.NOT_ASKED
_BEGUN = Flag.BEGUN.value
_REPLACED, _DELETED = Outcome.REPLACED, Outcome.DELETED
_CREATED = Flag.CREATED.value
_DIRECTORY = Flag.DIRECTORY.value
_UNVERIFIED = Flag.UNVERIFIED.value


class Deleter:
    """
    Deletes the files of claimed records; the only thing in Tempfleet that unlinks.

    Thread-safe: every call has its own descriptors and buffers.

    Args:
        promises: the registry; without it nothing has a record.
    """

    def __init__(self, roots: Roots, settings: Settings, promises: Promises | None = None) -> None:
        self.roots = roots
        self.promises = promises or NoRegistry()
        self._settings = settings
        self._audit = AuditLog(settings.audit_log, roots.base)

    def delete(
        self,
        records: Sequence[FileRecord],
        *,
        token: int,
        may_go_on: Callable[[], bool],
        tree_seconds: Callable[[], float] = unbounded,
    ) -> Iterator[Deletion]:
        """
        Delete the files of *records*, claimed with *token*; one ``Deletion`` for each.

        Args:
            may_go_on: called before each unlink. After it returns False, the rest is not touched and not yielded.
            tree_seconds: how long the next directory may take. Then it is BUSY, and the rest goes on.

        Returns:
            The outcomes, one by one. A bad entry never stops the rest: an error of the system becomes an outcome.
        """
        return cast(Iterator[Deletion], self._run(records, token, may_go_on, tree_seconds, quarantine=False))

    def quarantine(
        self,
        records: Sequence[FileRecord],
        *,
        token: int,
        may_go_on: Callable[[], bool],
        tree_seconds: Callable[[], float] = unbounded,
    ) -> Iterator[Deletion | Quarantined]:
        """
        Move the files into quarantine instead of deleting them; a ``Quarantined`` contains the new path.

        A file beyond the limit of the quarantine is deleted at once. For that, and for a file that ``delete`` would not
        delete, the result is a ``Deletion``.
        """
        return self._run(records, token, may_go_on, tree_seconds, quarantine=True)

    @contextmanager
    def preview(
        self, *, quarantine: bool = False, promises: Promises | None = None
    ) -> Iterator[Callable[[FileRecord], Deletion]]:
        """
        A function that predicts, for one record after another, the ``Deletion`` that ``delete`` would return now. It
        changes nothing.

        Args:
            quarantine: predict what ``quarantine`` would do. A file that it would move counts as deleted with the
                reason ``QUARANTINE``, and takes its part of the room there.
            promises: asked instead of the deleter's own.
        """

        def predict(record: FileRecord, session: Session) -> Deletion:
            # Nothing is carried out here, so every result is a Deletion.
            result = cast(Deletion, self._settle(record, session, quarantine, True))
            return cast(Deletion, or_rewritten(result, session)) if result.outcome is _REPLACED else result

        def unavailable(record: FileRecord, exc: VolumeUnavailable) -> Deletion:
            return Deletion(record, _UNAVAILABLE, reason=exc.reason)

        with reading(self.roots, self._settings, promises or self.promises, predict, unavailable) as look:
            yield look

    def restore(self, path: str) -> QuarantinedFile:
        """Give the file that was last quarantined from *path* its name back. Raises as restore.restore does."""
        return self.roots.run_at(path, partial(restore.restore, path, self.roots))

    def give_back(self, file: QuarantinedFile) -> None:
        """Give this *file* in quarantine its name back. Raises as restore.restore does."""
        self.roots.run_at(file.aside_path, partial(restore.give_back, file, self.roots))

    def quarantined_files(self) -> Iterator[QuarantinedFile]:
        """Every file in quarantine, from the disk; works without the registry."""
        return restore.quarantined_files(self.roots)

    def files_in_quarantine(self) -> Iterator[QuarantinedFile]:
        """Also those whose purge was interrupted."""
        return restore.files_in_quarantine(self.roots)

    def is_of(self, record: FileRecord, file: QuarantinedFile) -> bool:
        """Whether *record*, of its old path, is of the quarantined *file*."""
        return self.roots.run_at(file.aside_path, partial(restore.is_of, record, file, self.roots))

    def as_new_file(self, file: QuarantinedFile, now_ms: int) -> NewFile | None:
        """The registration of a quarantined file whose record was lost; None if the file is gone."""
        return self.roots.run_at(file.aside_path, partial(restore.as_new_file, file, self.roots, now_ms))

    def audit_kept(self, deletions: Sequence[Deletion], *, token: int) -> None:
        """Write the audit lines of files that plug-ins keep."""
        lines = AuditLines(self._audit, self._settings.host, token)
        for deletion in deletions:
            lines.add(deletion, _NOT_ASKED)
        lines.flush()

    def audit_unheld(self, path: str, name: str, *, by: str) -> None:
        """Write the audit line of a hold that somebody else ended."""
        with self.roots.use():
            self._audit.write(unheld_line(self._settings.host, path, name, by))

    def footprints(self, records: Sequence[FileRecord]) -> list[Footprint | None]:
        """The space that deleting each of *records* would free; None if it cannot be seen. See footprint.py."""
        with reading(
            self.roots, self._settings, self.promises, self._footprint, lambda *_: None
        ) as footprint:
            return [footprint(record) for record in records]

    def _footprint(self, record: FileRecord, session: Session) -> Footprint | None:
        root = self.roots.find(record.path)
        return None if root is None or session.moved(root) else footprint_of(record, root, session)

    def recover(self, may_go_on: Callable[[], bool] = lambda: True) -> list[Recovered]:
        """
        Look after the files that dead processes left in the private directories: see recovery.py.

        It touches only files that were being moved or destroyed when a process died, never quarantined files. Repeating
        it is harmless, also while other processes delete.
        """
        without_record = Deleter(self.roots, self._settings, WithoutRecord(self.promises))

        def delete(file: FileRecord, token: int) -> None:
            for deletion in without_record.delete([file], token=token, may_go_on=may_go_on):
                log(deletion)

        return recover(self.roots, self.promises, delete)

    def is_moving(self) -> bool:
        """Whether a living process has files in the private directories that ``recover`` leaves to it."""
        return is_moving(self.roots)

    def is_moved(self, path: str) -> bool:
        """Whether the file of *path* is in a private directory, and may get its name back."""
        return self.roots.run_at(path, partial(is_moved, path, self.roots))

    def _run(
        self,
        records: Sequence[FileRecord],
        token: int,
        may_go_on: Callable[[], bool],
        tree_seconds: Callable[[], float],
        *,
        quarantine: bool,
    ) -> Iterator[Deletion | Quarantined]:
        lines = AuditLines(self._audit, self._settings.host, token)
        with Session(
            self.roots,
            self._settings,
            records,
            token=token,
            may_go_on=may_go_on,
            promises=self.promises,
        ) as session:
            try:
                for record in records:
                    if not may_go_on():
                        return
                    session.use = _NOT_ASKED
                    try:
                        if _DIRECTORY in record.flags:
                            result = self._settle_tree(record, session, quarantine, tree_seconds())
                        else:
                            result = self._settle(record, session, quarantine, False)
                    except Stopped:
                        return
                    if isinstance(result, Deletion):
                        if result.outcome is _REPLACED:
                            result = cast(Deletion, or_rewritten(result, session))
                        if _UNVERIFIED in record.flags:
                            result = result._replace(record=record)
                        if result.outcome is not _UNAVAILABLE:
                            lines.add(result, session.use)
                    yield result
            finally:
                lines.flush()

    def _settle_tree(
        self, record: FileRecord, session: Session, quarantine: bool, seconds: float
    ) -> Deletion | Quarantined:
        session.begin_tree(seconds)
        try:
            return self._settle(record, session, quarantine, False)
        except ShareOver:
            reason = REFILLED if session.refilled else UNFINISHED
            return Deletion(record, Outcome.BUSY, Word.GUARDED, reason=reason)
        finally:
            session.end_tree()

    def _settle(
        self, record: FileRecord, session: Session, quarantine: bool, preview: bool
    ) -> Deletion | Quarantined:
        """Plan, then carry out; for a preview, plan, then predict the outcome."""
        path = record.path
        root = self.roots.find(path)
        if root is None:
            return self._outside_roots(record)
        if reason := session.moved(root):
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        session.write_locks = root.write_locks
        way: Way
        if _IN_PRIVATE in path:
            way = _PURGE
        elif quarantine and _BEGUN not in record.flags:
            way = _QUARANTINE
        elif record.identity != NO_IDENTITY or _CREATED not in record.flags:  # not direct.is_named_by_us
            way = _GUARDED
        else:
            way = _DIRECT
        try:
            plan = way.plan(record, root, session)
            if isinstance(plan, Deletion):
                return plan
            result = predicted(plan, session) if preview else carry_out(plan, session)
            if not preview and session.exclusive >= 0:
                session.release(is_gone=isinstance(result, Deletion) and result.outcome is _DELETED)
            return result if plan.left is None else _after_earlier_claim(result, session)
        except OSError as exc:
            outcome, reason = outcome_of(exc)
            if outcome is Outcome.MISSING and session.has_lost_private(root):
                return Deletion(record, _UNAVAILABLE, reason="no-private-directory")
            return Deletion(record, outcome, reason=reason)
        except NotPutBack:
            return Deletion(record, Outcome.FAILED, reason="not-put-back")
        finally:
            if session.exclusive >= 0:
                session.release()

    def _outside_roots(self, record: FileRecord) -> Deletion:
        if reason := self.roots.is_unavailable(record.path):
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        reason = "root" if self.roots.holds_a_root(record.path) else "outside-roots"
        return Deletion(record, Outcome.REFUSED, reason=reason)


def _after_earlier_claim(result: Deletion | Quarantined, session: Session) -> Deletion | Quarantined:
    """
    The result for a file that an earlier claim had moved away. If a new file has its name, the record is of that one
    from now on. Recovery registers what then has no record in the quarantine.
    """
    is_done = isinstance(result, Quarantined) or result.outcome is Outcome.DELETED
    return or_rewritten(result, session) if is_done else result
