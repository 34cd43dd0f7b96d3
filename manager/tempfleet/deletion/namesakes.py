"""
The files in the private directories that a namesake of this registry owns: one with the same host, base directory and
namespace. It may be another Redis, or this one before it lost its data; nothing on the disk shows which. So its files
are only reported, until a person takes them over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ..filesystem import Entry, Root, Roots
from . import companion
from .journal import Journal, abandoned
from .promises import Owner
from .restore import QuarantinedFile, files_in_quarantine


def quarantined_of_namesakes(roots: Roots, owner: Owner) -> Iterator[QuarantinedFile]:
    """Those in quarantine, also if their purge was interrupted."""
    return (file for file in files_in_quarantine(roots) if file.owner.is_namesake(owner))


def take_from_namesakes(roots: Roots, owner: Owner) -> None:
    """
    Write *owner* into the companions and journals of its namesakes. The next recovery registers the files in
    quarantine, with the end that was set when they were moved there, and finishes what dead processes began to destroy.
    A root that does not answer is left out.
    """
    files = list(quarantined_of_namesakes(roots, owner))
    for _ in roots.each(lambda root: _take(root, files, owner)):
        pass


def _take(root: Root, files: Sequence[QuarantinedFile], owner: Owner) -> None:
    for file in files:
        directory, name = os.path.split(file.aside_path)
        entry = Entry.parse(name)
        if entry is not None and os.path.dirname(directory) == root.path:
            companion.rewrite(root.private.open(), entry, owner)
    private = root.private.peek()
    for name, token, note in abandoned(private, root.private.names()) if private >= 0 else ():
        if note is None or not note.owner.is_namesake(owner):
            continue
        journal = Journal(private, token, owner, note.files)
        journal.close(keep=journal.is_whole)
        if journal.is_whole:
            os.unlink(name, dir_fd=private)
