"""List the files in quarantine, register them again, and give them back."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import FileMissing
from ..filesystem import DIRECTORY_FLAGS, Entry, Identity, Root, Roots, digest_of, unsafe
from ..logs import printable
from ..records import Flag, NewFile
from . import failpoints as faults
from . import guarded


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file in its grace period, as the disk tells it."""

    path: str
    aside_path: str
    size_bytes: int


def quarantined_files(roots: Roots) -> Iterator[QuarantinedFile]:
    """Every file in its grace period, from the disk."""
    for root in roots:
        for entry in root.private.entries():
            if entry.aside:
                try:
                    origin = os.readlink(entry.from_name, dir_fd=root.private.peek())
                except OSError:
                    origin = ""
                yield QuarantinedFile(origin, f"{root.private.path}/{entry.name}", entry.size_bytes)


def as_new_file(aside: QuarantinedFile, roots: Roots) -> NewFile | None:
    """What registering *aside* anew sends, its record lost: a whole grace period from now. None once it is gone."""
    root = roots.find(aside.aside_path)
    if root is None:
        return None
    private, name, reader = root.private.peek(), os.path.basename(aside.aside_path), roots.system.reader()
    try:
        found = reader.stat(private, name)
        identity = Identity.of(reader, private, name, found, handles=root.handles)
    except FileNotFoundError:
        return None
    return NewFile(
        path=aside.aside_path,
        ttl_ms=max(int(roots.settings.quarantine_seconds * 1000), 1),
        size_bytes=aside.size_bytes,
        identity=identity,
        flags=Flag.QUARANTINED + (Flag.DIRECTORY if stat.S_ISDIR(found.mode) else ""),
        uid=found.uid,
    )


def origin_of(aside_path: str) -> str:
    """Where a file in quarantine was, as the symlink beside it tells people; "" where nothing does."""
    at, _, name = aside_path.rpartition("/")
    try:
        return os.readlink(f"{at}/{Entry(name, '', 0).from_name}")
    except (OSError, ValueError):
        return ""


def restore(path: str, roots: Roots) -> QuarantinedFile:
    """
    Give the file that was last set aside from *path* its name back, never over an existing one.

    Its record, that of the ``aside_path`` in the answer, is to be taken out of the registry before; after a crash in
    between, restoring works again.

    Raises:
        FileMissing: no file from there is set aside.
        UnsafePath: reason "exists" where the name is taken, "outside-roots", "symlink" or "mount" as at registration.
        OSError: the directory it was in is gone, or may not be written to; the file is still set aside.
    """
    root = roots.find(path)
    if root is None:
        raise roots.outside(path, action="restored")
    mine = [entry for entry in root.private.entries() if entry.aside and entry.digest == digest_of(path)]
    if not mine:
        raise FileMissing(
            f"{printable(path)} is not in quarantine: it was not deleted there, or its grace period is over.",
            path=path,
            reason="missing",
        )
    last = max(mine, key=lambda entry: entry.token)
    _rename_back(path, last, root, roots)
    forget_origin(root.private.peek(), last)
    return QuarantinedFile(path, f"{root.private.path}/{last.name}", last.size_bytes)


def _rename_back(path: str, entry: Entry, root: Root, roots: Roots) -> None:
    parent, name = os.path.split(path[len(root.prefix) :])
    private = root.private.peek()
    try:
        fd = roots.system.open_beneath(root.fd, parent or ".", DIRECTORY_FLAGS)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.EXDEV):
            reason = "symlink" if exc.errno == errno.ELOOP else "mount"
            raise unsafe(path, reason, action="restored") from None
        raise
    try:
        directory = guarded.is_directory(private, entry.name)
        roots.system.rename_noreplace(private, entry.name, fd, name, directory=directory)
    except FileExistsError:
        taken = "the name is taken; move that file away first"
        raise unsafe(path, "exists", taken, action="restored") from None
    finally:
        os.close(fd)
    faults.reach("restore.moved")


def forget_origin(private: int, entry: Entry) -> None:
    try:
        os.unlink(entry.from_name, dir_fd=private)
    except FileNotFoundError:
        pass
