"""What a dry run looks at: sessions that delete nothing, and the outcome of a plan that is not carried out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ..errors import VolumeUnavailable
from ..filesystem import Root, Roots, outcome_of
from ..records import NO_IDENTITY, Deletion, FileRecord, Outcome
from ..records import Way as Word
from ..settings import Settings
from . import checks, in_place
from .comparison import SAME, compare
from .plan import Plan
from .promises import Promises
from .quarantine import QUARANTINE
from .session import Session

T = TypeVar("T")


@contextmanager
def reading(
    roots: Roots,
    settings: Settings,
    promises: Promises,
    work: Callable[[FileRecord, Session], T],
    unanswered: Callable[[FileRecord, VolumeUnavailable], T],
) -> Iterator[Callable[[FileRecord], T]]:
    """
    A function that returns what *work* returns for one record after another; for a record whose root does not answer,
    what *unanswered* returns. Each root has a session of its own, because a call that does not return keeps it.
    """
    sessions: dict[Root | None, Session] = {}

    def call(record: FileRecord) -> T:
        root = roots.find(record.path)
        session = sessions.get(root)
        if session is None:
            session = sessions[root] = Session(
                roots, settings, [], token=0, may_go_on=lambda: True, promises=promises
            )
        if root is None:
            return work(record, session)
        try:
            return root.calls.run(partial(work, record, session))
        except VolumeUnavailable as exc:
            del sessions[root]
            return unanswered(record, exc)

    try:
        yield call
    finally:
        for session in sessions.values():
            session.close()


def predicted(plan: Plan, session: Session) -> Deletion:
    """
    The outcome of carrying out *plan* now: the comparison, the errors of the system, and the size of a tree.
    """
    record, expected = plan.record, plan.expected
    keeps = expected.reason == QUARANTINE
    if expected.outcome is not Outcome.DELETED or (keeps and plan.left is not None):
        return expected
    compares = record.identity != NO_IDENTITY
    if compares and compare(record, plan.root, plan.fd, plan.name, session.reader) is not SAME:
        return Deletion(record, Outcome.REPLACED, Word.GUARDED)
    try:
        code = 0
        moves = record.is_directory or session.secure or expected.way is not Word.DIRECT
        if moves and plan.root.private.peek() < 0:
            # The private directory is to be made there, before anything else.
            code = checks.change_refusal(plan.root.fd, session.reader)
            if in_place.is_possible(plan, session, code):
                code = 0
        code = code or checks.system_refusal(plan.fd, plan.name, session.reader)
        if not code and record.is_directory and not keeps:
            code = checks.tree_refusal(plan.fd, plan.name, session)
    except OSError:
        # The file is not under its name any more, so there is nothing to predict from. The plan's outcome stays.
        code = 0
    if code:
        outcome, reason = outcome_of(OSError(code, os.strerror(code)))
        return Deletion(record, outcome, expected.way, reason=reason)
    if record.is_directory and not keeps:
        return expected._replace(freed_bytes=checks.inspect_tree(plan.fd, plan.name, session)[1])
    return expected
