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
    """A file in quarantine, as it was found on the disk."""

    path: str
    aside_path: str
    size_bytes: int


def quarantined_files(roots: Roots) -> Iterator[QuarantinedFile]:
    """Every file in quarantine, from the disk."""
    for root in roots:
        for entry in root.private.entries():
            if entry.aside:
                try:
                    origin = os.readlink(entry.from_name, dir_fd=root.private.peek())
                except OSError:
                    origin = ""
                yield QuarantinedFile(origin, f"{root.private.path}/{entry.name}", entry.size_bytes)


def as_new_file(file: QuarantinedFile, roots: Roots) -> NewFile | None:
    """The registration of a quarantined file whose record was lost, with a full time to live; None if it is gone."""
    root = roots.find(file.aside_path)
    if root is None:
        return None
    private, name, reader = root.private.peek(), os.path.basename(file.aside_path), roots.system.reader()
    try:
        stat_result = reader.stat(private, name)
        identity = Identity.of(reader, private, name, stat_result, handles=root.handles)
    except FileNotFoundError:
        return None
    return NewFile(
        path=file.aside_path,
        ttl_ms=max(int(roots.settings.quarantine_seconds * 1000), 1),
        size_bytes=file.size_bytes,
        identity=identity,
        flags=Flag.QUARANTINED + (Flag.DIRECTORY if stat.S_ISDIR(stat_result.mode) else ""),
        uid=stat_result.uid,
    )


def origin_of(aside_path: str) -> str:
    """The path that a quarantined file had, from the symlink beside it; "" if there is none. For people only."""
    at, _, name = aside_path.rpartition("/")
    try:
        return os.readlink(f"{at}/{Entry(name, '', 0).from_name}")
    except (OSError, ValueError):
        return ""


def restore(path: str, roots: Roots) -> QuarantinedFile:
    """
    Give the file that was last quarantined from *path* its name back, never over another file.

    The caller first removes its record, that of the ``aside_path`` in the result, from the registry. After a crash in
    between, restoring works again.

    Raises:
        FileMissing: no file from there is in quarantine.
        UnsafePath: reason "exists" if the name is taken; "outside-roots", "symlink" or "mount" as at registration.
        OSError: its directory is gone, or may not be written to. The file is still in quarantine.
    """
    root = roots.find(path)
    if root is None:
        raise roots.outside(path, action="restored")
    entries = [entry for entry in root.private.entries() if entry.aside and entry.digest == digest_of(path)]
    if not entries:
        raise FileMissing(
            f"{printable(path)} is not in quarantine: it was not quarantined, or its time there is over.",
            path=path,
            reason="missing",
        )
    last = max(entries, key=lambda entry: entry.token)
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
