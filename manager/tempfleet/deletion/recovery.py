"""The recovery scan: what dead processes left between a rename and the unlink gets its name back."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, replace

from ..filesystem import ASIDE, FROM, Identity, Root, Roots, digest_of
from ..logs import logger, printable
from ..records import NO_IDENTITY, FileRecord, Flag, NewFile
from . import exchange, guarded
from . import failpoints as faults
from .journal import JournalEntry, abandoned
from .session import Session
from .skip import Unchanged

_ORIGIN_SECONDS = 3600
"""Younger, its file may be about to come."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    One file that was found in a private directory.

    Attributes:
        path: where it was, and is again if *back*.
        back: False where its name is taken by another file: it stays for the next claim of its record.
        left: what it was claimed as, where it stays and is proven to be that; its record may be the other file's now.
        token: of that claim.
    """

    path: str
    back: bool
    left: FileRecord | None = None
    token: int = 0


def stands_for_another(record: FileRecord, left: FileRecord | NewFile) -> bool:
    """Whether *record*, of the same path, is of another object than *left*; False where it does not say of which."""
    return record.identity != NO_IDENTITY and left.identity not in Identity(record.identity).alternatives


def recover(roots: Roots) -> list[Recovered]:
    """Go through the private directories of *roots*; see ``Deleter.recover``."""
    found: list[Recovered] = []
    for root in roots:
        private = root.private.peek()
        if private < 0:
            continue
        names = root.private.names()
        _forget_origins(private, names)
        for name, noted in abandoned(private, names):
            last = {line.path: line for line in noted}
            mine = [_recover_one(root, private, line, roots) for line in last.values()]
            found += [one for one in mine if one is not None]
            stays = any(one is not None and not one.back for one in mine)
            if stays or any(exchange.is_left_over(line, private) for line in last.values()):
                continue  # perhaps no claim looks for it, so only this note can tell whose it is
            try:
                os.unlink(name, dir_fd=private)
            except FileNotFoundError:
                pass
    return found


def _forget_origins(private: int, names: list[str]) -> None:
    """Remove the notes of origin of files that never came, or were purged by a process that died then."""
    there = set(names)
    for name in names:
        if name.endswith(f".{FROM}") and name.removesuffix(FROM) + ASIDE not in there:
            try:
                age = time.time() - os.stat(name, dir_fd=private, follow_symlinks=False).st_mtime
                if age > _ORIGIN_SECONDS:
                    os.unlink(name, dir_fd=private)
            except FileNotFoundError:
                continue  # its maker, or another scan, was quicker


def _recover_one(root: Root, private: int, line: JournalEntry, roots: Roots) -> Recovered | None:
    entry = f"{digest_of(line.path)}.{line.token:x}"
    record = FileRecord(line.path, 0, 0, identity=line.identity)
    if not line.path.startswith(root.prefix):
        return None
    with Session(roots, roots.settings, [], token=line.token, may_go_on=lambda: True) as session:
        try:
            exchange.recover(line, root, private, session)
            mode = os.stat(entry, dir_fd=private, follow_symlinks=False).st_mode
            fd = session.parent(root, line.path)
            name = line.path[line.path.rindex("/") + 1 :]
            ours = guarded.is_same(record, root, private, entry, session)
            if ours and _is_taken(fd, name):
                flags = Flag.DIRECTORY.value if stat.S_ISDIR(mode) else ""
                return Recovered(line.path, False, replace(record, flags=flags), line.token)
            guarded.put_back(private, entry, fd, name, session, directory=stat.S_ISDIR(mode))
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
