"""
The files in the private directories that a namesake of this registry owns: one with the same host, base directory and
namespace. It may be another Redis, or this one before it lost its data; nothing on the disk shows which. So its files
are only reported, until a person takes them over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..filesystem import Entry, Roots
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
    """
    for file in quarantined_of_namesakes(roots, owner):
        root, entry = roots.find(file.aside_path), Entry.parse(os.path.basename(file.aside_path))
        if root is not None and entry is not None:
            companion.rewrite(root.private.open(), entry, owner)
    for root in roots:
        private = root.private.peek()
        for name, token, note in abandoned(private, root.private.names()) if private >= 0 else ():
            if note is None or not note.owner.is_namesake(owner):
                continue
            journal = Journal(private, token, owner, note.files)
            journal.close(keep=journal.is_whole)
            if journal.is_whole:
                os.unlink(name, dir_fd=private)
