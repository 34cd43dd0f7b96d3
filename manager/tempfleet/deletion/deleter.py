"""``Deleter``: the way of each record, and one outcome for each, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from ..records import NO_IDENTITY, Deletion, FileRecord, Outcome
from ..settings import Settings
from . import direct, guarded
from .errnos import outcome_of
from .roots import Root, Roots
from .session import Session


class Deleter:
    """
    Deletes the files of claimed records; the only thing in Tempfleet that unlinks.

    Thread-safe: every call has its own descriptors and buffers.
    """

    def __init__(self, roots: Roots, settings: Settings) -> None:
        self._roots = roots
        self._settings = settings

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
        with Session(self._roots, token, may_go_on) as session:
            for record in records:
                if not may_go_on():
                    return
                yield self._settle(record, session, direct.delete, guarded.delete)

    def examine(self, record: FileRecord) -> Deletion:
        """The ``Deletion`` that ``delete`` would give for *record* now. Changes nothing at all."""
        with Session(self._roots, 0, lambda: True) as session:
            return self._settle(record, session, direct.look, guarded.look)

    def _settle(
        self,
        record: FileRecord,
        session: Session,
        by_name: Callable[[FileRecord, str, Session], Deletion],
        by_identity: Callable[[FileRecord, Root, Session], Deletion],
    ) -> Deletion:
        root = self._roots.find(record.path)
        if root is None:
            return self._homeless(record)
        if reason := session.moved(root):
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        try:
            if record.is_created and record.identity == NO_IDENTITY:
                if os.path.dirname(record.path) != self._roots.base.path:
                    return Deletion(record, Outcome.REFUSED, reason="not-private")
                return by_name(record, record.path[len(root.prefix) :], session)
            return by_identity(record, root, session)
        except OSError as exc:
            outcome, reason = outcome_of(exc)
            return Deletion(record, outcome, reason=reason)

    def _homeless(self, record: FileRecord) -> Deletion:
        if reason := self._roots.is_unavailable(record.path):
            return Deletion(record, Outcome.UNAVAILABLE, reason=reason)
        return Deletion(
            record,
            Outcome.REFUSED,
            reason="root" if self._roots.holds_a_root(record.path) else "outside-roots",
        )
