"""The recovery scan: files that dead processes left between a rename and the unlink get their names back."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..filesystem import ASIDE, FROM, Entry, Identity, Root, Roots, digest_of
from ..logs import logger, printable
from ..records import NO_IDENTITY, FileRecord, Flag, NewFile
from . import exchange, guarded
from . import failpoints as faults
from .journal import JournalEntry, abandoned
from .restore import forget_origin
from .session import Session
from .skip import Unchanged

_ORIGIN_SECONDS = 3600
"""The file of a younger symlink may still be about to be moved there."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    One file that was found in a private directory.

    Attributes:
        path: its old path; it is there again if *back*.
        back: False if another file has its name. Then it stays for the next claim of its record.
        left: the record it was claimed as, if it stays and is proven to be that file. The record in the registry may be
            that of the other file now.
        token: of that claim.
    """

    path: str
    back: bool
    left: FileRecord | None = None
    token: int = 0


def stands_for_another(record: FileRecord, left: FileRecord | NewFile) -> bool:
    """Whether *record*, of the same path, is of another object than *left*; False if it has no identity."""
    return record.identity != NO_IDENTITY and left.identity not in Identity(record.identity).alternatives


def recover(roots: Roots) -> list[Recovered]:
    """Go through the private directories of *roots*; see ``Deleter.recover``."""
    recovered: list[Recovered] = []
    for root in roots:
        private = root.private.peek()
        if private < 0:
            continue
        names = root.private.names()
        _forget_origins(private, names)
        for name, lines in abandoned(private, names):
            last = {line.path: line for line in lines}
            # Listed after the journal is locked: before that, its process was perhaps still moving files.
            quarantined = {
                f"{entry.digest}.{entry.token:x}": entry for entry in root.private.entries() if entry.aside
            }
            results = [
                result
                for line in last.values()
                if (result := _recover_one(root, private, line, quarantined, roots)) is not None
            ]
            recovered += results
            stays = any(not result.back for result in results)
            if stays or any(exchange.is_left_over(line, private) for line in last.values()):
                continue  # if no claim looks for it, only this journal shows whose it is
            try:
                os.unlink(name, dir_fd=private)
            except FileNotFoundError:
                pass
    return recovered


def _forget_origins(private: int, names: list[str]) -> None:
    """Remove the symlinks of files that never came, or that a process purged just before it died."""
    there = set(names)
    for name in names:
        if name.endswith(f".{FROM}") and name.removesuffix(FROM) + ASIDE not in there:
            try:
                age = time.time() - os.stat(name, dir_fd=private, follow_symlinks=False).st_mtime
                if age > _ORIGIN_SECONDS:
                    os.unlink(name, dir_fd=private)
            except FileNotFoundError:
                continue  # its maker, or another scan, was faster


def _recover_one(
    root: Root, private: int, line: JournalEntry, quarantined: Mapping[str, Entry], roots: Roots
) -> Recovered | None:
    entry = f"{digest_of(line.path)}.{line.token:x}"
    in_quarantine = quarantined.get(entry)
    if in_quarantine is not None:
        entry = in_quarantine.name
    record = FileRecord(line.path, 0, 0, identity=line.identity)
    if not line.path.startswith(root.prefix):
        return None
    with Session(roots, roots.settings, [], token=line.token, may_go_on=lambda: True) as session:
        try:
            exchange.recover(line, root, private, session)
            mode = os.stat(entry, dir_fd=private, follow_symlinks=False).st_mode
            fd = session.parent(root, line.path)
            name = line.path[line.path.rindex("/") + 1 :]
            if in_quarantine is not None and line.identity == NO_IDENTITY:
                return None  # nothing to compare it with; nobody else can have replaced a created file
            ours = guarded.is_same(record, root, private, entry, session)
            if ours and in_quarantine is not None:
                return None
            if ours and _is_taken(fd, name):
                flags = Flag.DIRECTORY.value if stat.S_ISDIR(mode) else ""
                return Recovered(line.path, False, replace(record, flags=flags), line.token)
            guarded.put_back(private, entry, fd, name, session, directory=stat.S_ISDIR(mode))
            if in_quarantine is not None:
                forget_origin(private, in_quarantine)
        except FileNotFoundError:
            return None
        except (OSError, guarded.NotPutBack, Unchanged) as exc:
            logger.error("%s is kept in %s: %s", printable(line.path), root.private.path, exc)
            return Recovered(line.path, back=False)
    faults.reach("recovery.put-back")
    return Recovered(line.path, back=True)


def _is_taken(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
