"""``Deleter``: the way of each record, and one outcome for each, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..filesystem import PREFIX, Root, Roots, Use, outcome_of
from ..records import NO_IDENTITY, Deletion, FileRecord, Flag, NewFile, Outcome
from ..settings import Settings
from . import checks, direct, guarded, restore
from . import quarantine as aside
from .audit import AuditLines, AuditLog
from .footprint import Footprint, footprint_of
from .guarded import NotPutBack
from .quarantine import Quarantined
from .recovery import Recovered, recover
from .restore import QuarantinedFile
from .session import Session, Stopped

T = TypeVar("T")
_PRIVATE = "/" + PREFIX
_UNAVAILABLE, _NOT_ASKED = Outcome.UNAVAILABLE, Use.NOT_ASKED
_CREATED = Flag.CREATED.value
_UNVERIFIED = Flag.UNVERIFIED.value


class Deleter:
    """
    Deletes the files of claimed records; the only thing in Tempfleet that unlinks.

    Thread-safe: every call has its own descriptors and buffers.
    """

    def __init__(self, roots: Roots, settings: Settings) -> None:
        self._roots = roots
        self._settings = settings
        self._audit = AuditLog(settings.audit_log, roots.base.private)

    def delete(
        self, records: Sequence[FileRecord], *, token: int, may_go_on: Callable[[], bool]
    ) -> Iterator[Deletion]:
        """
        Delete the files of *records*, claimed with *token*; one ``Deletion`` for each.

        Args:
            may_go_on: asked before each unlink. Once it says no, the rest is not touched and not yielded.

        Returns:
            The outcomes as they come. One bad entry never stops the rest: what the system says becomes an
            outcome.
        """
        return self._run(records, token, may_go_on, direct.delete, guarded.delete)

    def quarantine(
        self, records: Sequence[FileRecord], *, token: int, may_go_on: Callable[[], bool]
    ) -> Iterator[Deletion | Quarantined]:
        """
        As ``delete``, with the grace period: what would be deleted is moved aside; ``Quarantined`` says where
        to.

        Files beyond the quarantine's limit are deleted at once, and so reported; so is what ``delete`` would
        not delete.
        """
        return self._run(records, token, may_go_on, aside.set_aside_created, aside.set_aside)

    def audit_kept(self, deletions: Sequence[Deletion], *, token: int) -> None:
        """Write the audit log's lines of files that somebody else decided to keep."""
        lines = AuditLines(self._audit, self._settings.host, token)
        for deletion in deletions:
            lines.add(deletion, _NOT_ASKED)
        lines.flush()

    def restore(self, path: str) -> QuarantinedFile:
        """Give the file that was last set aside from *path* its name back; see ``aside.restore``."""
        return restore.restore(path, self._roots)

    def quarantined_files(self) -> Iterator[QuarantinedFile]:
        """Every file in its grace period, as the disk tells it; works without the registry."""
        return restore.quarantined_files(self._roots)

    def as_new_file(self, found: QuarantinedFile) -> NewFile | None:
        """What registers a file in its grace period anew; see ``aside.as_new``."""
        return restore.as_new_file(found, self._roots)

    def examine(self, record: FileRecord) -> Deletion:
        """The ``Deletion`` that ``delete`` would give for *record* now. Changes nothing at all."""
        with self.examining() as look:
            return look(record)

    @contextmanager
    def examining(self, *, set_aside: bool = False) -> Iterator[Callable[[FileRecord], Deletion]]:
        """
        A function that examines one record after another.

        Args:
            set_aside: tell what ``set_aside`` would do: what it would move counts as deleted for the reason
                ``QUARANTINE``, and takes its part of the room there.
        """
        by_name, by_identity = (
            (aside.look_before_created, aside.look_before) if set_aside else (direct.look, guarded.look)
        )
        with Session(self._roots, self._settings, [], token=0, may_go_on=lambda: True) as session:
            yield lambda record: self._foretold(
                self._settle(record, session, by_name, by_identity, aside.look), session
            )

    def _foretold(self, verdict: Deletion, session: Session) -> Deletion:
        """*verdict*, but what the system would not let go does not go."""
        path = verdict.path
        root = self._roots.find(path)
        if verdict.outcome is not Outcome.DELETED or root is None:
            return verdict
        try:
            code = checks.system_refusal(session.parent(root, path), path.rpartition("/")[2], session.reader)
        except OSError:  # it is not under its name: an earlier claim has it in hand
            return verdict
        if not code:
            return verdict
        outcome, reason = outcome_of(OSError(code, os.strerror(code)))
        return Deletion(verdict.record, outcome, verdict.way, reason=reason)

    def footprints(self, records: Sequence[FileRecord]) -> list[Footprint | None]:
        """What the disk would get back for each of *records*; None where that cannot be seen. See weighing.py."""
        with Session(self._roots, self._settings, [], token=0, may_go_on=lambda: True) as session:
            return [self._footprint(record, session) for record in records]

    def _footprint(self, record: FileRecord, session: Session) -> Footprint | None:
        root = self._roots.find(record.path)
        return None if root is None or session.moved[root.path] else footprint_of(record, root, session)

    def recover(self) -> list[Recovered]:
        """
        Give files that dead processes left in the private directories their names back; to be called at
        start.

        Only what was being moved when a process died is touched, never what is in its grace period. Repeating
        it is harmless, also while others delete.
        """
        return recover(self._roots)

    def _run(
        self,
        records: Sequence[FileRecord],
        token: int,
        may_go_on: Callable[[], bool],
        by_name: Callable[[FileRecord, str, Session], T],
        by_identity: Callable[[FileRecord, Root, Session], T],
    ) -> Iterator[T | Deletion]:
        lines = AuditLines(self._audit, self._settings.host, token)
        session = Session(self._roots, self._settings, records, token=token, may_go_on=may_go_on)
        try:
            for record in records:
                if not may_go_on():
                    return
                session.use = _NOT_ASKED
                try:
                    settled = self._settle(record, session, by_name, by_identity, aside.purge)
                except Stopped:
                    return
                if isinstance(settled, Deletion):
                    if _UNVERIFIED in record.flags:
                        settled = settled._replace(record=record)
                    if settled.outcome is not _UNAVAILABLE:
                        lines.add(settled, session.use)
                yield settled
        finally:
            session.close()
            lines.flush()

    def _settle(
        self,
        record: FileRecord,
        session: Session,
        by_name: Callable[[FileRecord, str, Session], T],
        by_identity: Callable[[FileRecord, Root, Session], T],
        at_the_end: Callable[[FileRecord, Root, Session], Deletion],
    ) -> T | Deletion:
        path = record.path
        root = self._roots.find(path)
        if root is None:
            return self._homeless(record)
        if reason := session.moved[root.path]:
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        try:
            if _PRIVATE in path:
                return at_the_end(record, root, session)
            if record.identity != NO_IDENTITY or _CREATED not in record.flags:
                return by_identity(record, root, session)
            name = path[len(root.prefix) :]
            if root is not self._roots.base or "/" in name:
                return Deletion(record, Outcome.REFUSED, reason="not-private")
            return by_name(record, name, session)
        except OSError as exc:
            outcome, reason = outcome_of(exc)
            if outcome is Outcome.MISSING and session.has_lost_private(root):
                return Deletion(record, _UNAVAILABLE, reason="no-private-directory")
            return Deletion(record, outcome, reason=reason)
        except NotPutBack:
            return Deletion(record, Outcome.FAILED, reason="not-put-back")

    def _homeless(self, record: FileRecord) -> Deletion:
        if reason := self._roots.is_unavailable(record.path):
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        reason = "root" if self._roots.holds_a_root(record.path) else "outside-roots"
        return Deletion(record, Outcome.REFUSED, reason=reason)
