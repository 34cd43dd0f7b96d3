"""
Plan, then carry out: each deletion is decided first and done second.

A ``Way`` makes a ``Plan`` of a record. All checks are made there, and nothing is changed. A deletion carries the plan
out; a dry run drops it (see ``Deleter.preview``). So both make the same checks by the same code, and a dry run cannot
promise what a real run does not do.

A plan proves nothing. Until it is carried out, another process may put another file under the name. The comparison that
decides is made in the private directory, after the rename (``guarded.move_and_compare``), and the kernel is asked about
the write lock once more after it. The checks of a plan only save other files from being moved there and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..filesystem import Entry, Root
from ..records import Deletion, FileRecord, Flag, NewFile
from .session import Session

_DIRECTORY = Flag.DIRECTORY.value


@dataclass(frozen=True, slots=True)
class Quarantined:
    """
    A file that was moved into quarantine. The caller replaces *record* by *new* in the registry, in one move.

    *new* has the identity, owner and tags of *record*, its flags and Flag.QUARANTINED, and the new path of the file.
    Its time to live is that of the quarantine.
    """

    record: FileRecord
    new: NewFile


class Plan:
    """
    What is about to be done to one file. Carry it out before the session makes the next plan.

    Attributes:
        way: the way that carries it out.
        record: of the file, verified.
        fd: the directory that the file is in; the session or the root closes it.
        name: of the file in that directory.
        expected: the outcome, if nothing happens until it is carried out and the system refuses nothing. For a
            directory its freed bytes are not known yet.
        size_bytes: of the file, as the quarantine counts it.
        left: an entry of the private directory that an earlier claim of the record left there.
    """

    # Not a dataclass: at 9 us for a created file, half a microsecond is 5 %.
    __slots__ = ("expected", "fd", "left", "name", "record", "root", "size_bytes", "way")

    def __init__(
        self,
        way: Way,
        record: FileRecord,
        root: Root,
        fd: int,
        name: str,
        expected: Deletion,
        size_bytes: int = 0,
        left: Entry | None = None,
    ) -> None:
        self.way = way
        self.record = record
        self.root = root
        self.fd = fd
        self.name = name
        self.expected = expected
        self.size_bytes = size_bytes
        self.left = left


class Way(Protocol):
    """How a deletion makes sure that it has the right file."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        """Make every check and change nothing. Returns a ``Deletion`` if there is nothing to do."""

    def carry_out(self, plan: Plan, session: Session) -> Deletion | Quarantined:
        """Do what *plan* says, unless it turns out to be another file."""


def carry_out(plan: Plan, session: Session) -> Deletion | Quarantined:
    if _DIRECTORY not in plan.record.flags:
        return plan.way.carry_out(plan, session)
    gone = False
    try:
        result = plan.way.carry_out(plan, session)
        gone = isinstance(result, Quarantined)
        return result
    finally:
        # If the directory was destroyed, they were settled when that began.
        session.promises.settle(plan.record, gone=gone)
