"""One answer to the question what an entry of the private directory is, and whose."""

from __future__ import annotations

from typing import NamedTuple

from ..filesystem import Entry, EntryState, digest_of
from ..records import FileRecord
from . import companion
from .note import Note
from .promises import Owner


class Whose(NamedTuple):
    """
    Attributes:
        state: BEGUN: ours, and being destroyed. ASIDE: ours, in quarantine. MOVED: perhaps a stranger's. It gets its
            name back, unless a comparison shows that it is ours.
        owner: the registry that has, or had, its record; None if nothing shows it.
        file: as a note describes it: its old path, its identity, what was promised; None if nothing shows it.
            In quarantine ``deadline_ms`` is the end of the quarantine.
    """

    state: EntryState
    owner: Owner | None = None
    file: FileRecord | None = None


def whose(private: int, entry: Entry, journal: Note | None = None) -> Whose:
    """
    Read from its name, its companion or the *journal* of the batch that moved it what *entry* of the directory
    *private* is.
    """
    if entry.state in (EntryState.ASIDE, EntryState.BEGUN):
        journal = companion.read(private, entry) or journal
    if journal is None:
        return Whose(entry.state)
    file = next((file for file in reversed(journal.files) if digest_of(file.path) == entry.digest), None)
    return Whose(entry.state, journal.owner, file)
