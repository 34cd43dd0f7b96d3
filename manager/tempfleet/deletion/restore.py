"""List the files in quarantine, register them again, and give them back."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..errors import AlreadyClaimed, FileMissing, VolumeUnavailable
from ..filesystem import (
    DIRECTORY_FLAGS,
    LOOK_SECONDS,
    Entry,
    EntryState,
    Identity,
    Root,
    Roots,
    bounded_at,
    close,
    digest_of,
    unsafe,
)
from ..logs import printable
from ..records import FileRecord, Flag, NewFile
from . import companion, moving
from . import failpoints as faults
from .comparison import SAME, compare
from .note import read_note
from .promises import NOBODY, Owner
from .whose import whose


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """
    A file in quarantine, as it was found on the disk.

    Attributes:
        path: its old path, "" if its companion is lost.
        aside_path: where it is.
        end_ms: the end of its quarantine when it was moved there, by the Redis clock; 0 if its companion is lost.
        owner: the registry that quarantined it.
        begun: a purge of it was interrupted, so it cannot be restored.
    """

    path: str
    aside_path: str
    size_bytes: int
    end_ms: int = 0
    owner: Owner = NOBODY
    begun: bool = False


def quarantined_files(roots: Roots) -> Iterator[QuarantinedFile]:
    """Every file that can be restored, from the disk."""
    return (file for file in files_in_quarantine(roots) if not file.begun)


def files_in_quarantine(roots: Roots) -> Iterator[QuarantinedFile]:
    """Also those whose purge was interrupted."""

    def files_in(root: Root) -> list[QuarantinedFile]:
        with roots.use():
            return list(_files_in_quarantine(root))

    for files in roots.each(files_in):
        yield from files


def _files_in_quarantine(root: Root) -> Iterator[QuarantinedFile]:
    for entry in root.private.entries():
        if entry.state not in (EntryState.ASIDE, EntryState.BEGUN):
            continue
        state, owner, file = whose(root.private.peek(), entry)
        begun = state is EntryState.BEGUN
        if file is None and begun:
            continue  # it was never in quarantine
        aside_path = f"{root.private.path}/{entry.aside_name}"
        path, end_ms = ("", 0) if file is None else (file.path, file.deadline_ms)
        yield QuarantinedFile(path, aside_path, entry.size_bytes, end_ms, owner or NOBODY, begun)


def bytes_in_quarantine(roots: Roots) -> list[int]:
    """The size of each file in quarantine; cheap. Without those on a file system that does not answer."""

    def sizes(root: Root) -> list[int]:
        with roots.use():
            return [entry.size_bytes for entry in root.private.entries() if entry.state is EntryState.ASIDE]

    return [size for found in roots.each(sizes) for size in found]


def as_new_file(file: QuarantinedFile, roots: Roots, now_ms: int) -> NewFile | None:
    """The registration of a quarantined file whose record was lost, with the rest of its time; None if it is gone."""
    root, entry = roots.find(file.aside_path), Entry.parse(os.path.basename(file.aside_path))
    if root is None or entry is None:
        return None
    with roots.use():
        private, reader = root.private.peek(), roots.system.reader()
        name = entry.begun_name if file.begun else entry.name
        try:
            stat_result = reader.stat(private, name)
            identity = Identity.of(reader, private, name, stat_result, handles=root.handles)
        except FileNotFoundError:
            return None
    return NewFile(
        path=file.aside_path,
        ttl_ms=max(file.end_ms - now_ms, 1),
        size_bytes=file.size_bytes,
        identity=identity,
        flags=Flag.QUARANTINED + (Flag.DIRECTORY if stat.S_ISDIR(stat_result.mode) else ""),
        uid=stat_result.uid,
    )


def is_of(record: FileRecord, file: QuarantinedFile, roots: Roots) -> bool:
    """Whether *record*, of its old path, is of the quarantined *file*."""
    root, entry = roots.find(file.aside_path), Entry.parse(os.path.basename(file.aside_path))
    if root is None or entry is None:
        return False
    name = entry.begun_name if file.begun else entry.name
    with roots.use():
        try:
            return compare(record, root, root.private.peek(), name, roots.system.reader()) is SAME
        except FileNotFoundError:
            return False


def origin_of(aside_path: str) -> str:
    """
    The path that a quarantined file had, from the companion beside it; "" if there is none, or if its file system does
    not answer. For people only.
    """
    at, _, name = aside_path.rpartition("/")
    entry = Entry.parse(name)
    if entry is None:
        return ""
    try:
        return bounded_at(at).ask(partial(_path_in_note, at, entry.from_name), seconds=LOOK_SECONDS)
    except (OSError, ValueError, VolumeUnavailable):
        return ""


def _path_in_note(directory: str, name: str) -> str:
    fd = os.open(directory, DIRECTORY_FLAGS)
    try:
        note = read_note(fd, name)
    finally:
        close(fd)
    return note.files[0].path if note is not None and note.files else ""


def restore(path: str, roots: Roots) -> QuarantinedFile:
    """
    Give the file that was last quarantined from *path* its name back, never over another file.

    A purge that needs more than one system call first takes the file's name in quarantine away. So after this returned,
    the file is whole, and stays so. The caller then removes its record, that of the ``aside_path`` in the result, from
    the registry. After a crash in between, a later claim of that record finds that the file is missing.

    Raises:
        FileMissing: no file from there is in quarantine.
        AlreadyClaimed: its purge has begun.
        UnsafePath: reason "exists" if the name is taken; "outside-roots", "symlink" or "mount" as at registration.
        OSError: its directory is gone, or may not be written to. The file is still in quarantine.
    """
    root = roots.find(path)
    if root is None:
        raise roots.outside(path, action="restored")
    with roots.use():
        last = _last_from(path, root)
        _rename_back(path, last, root, roots)
        companion.forget(root.private.peek(), last)
    return QuarantinedFile(path, f"{root.private.path}/{last.name}", last.size_bytes)


def give_back(file: QuarantinedFile, roots: Roots) -> None:
    """Give this *file* its name back, as ``restore`` does for the last one of a path. Its old record covers it."""
    root, entry = roots.find(file.aside_path), Entry.parse(os.path.basename(file.aside_path))
    if root is None or entry is None:
        return
    with roots.use():
        _rename_back(file.path, entry, root, roots)
        companion.forget(root.private.peek(), entry)


def _last_from(path: str, root: Root) -> Entry:
    private, digest = root.private.peek(), digest_of(path)
    entries = [entry for entry in root.private.entries() if entry.digest == digest]
    aside = [entry for entry in entries if entry.state is EntryState.ASIDE]
    # what was begun without a companion was never in quarantine
    begun = [
        entry
        for entry in entries
        if entry.state is EntryState.BEGUN and moving.is_there(private, entry.from_name)
    ]
    last = max(aside + begun, key=lambda entry: entry.token, default=None)
    if last is not None and last.state is EntryState.BEGUN:
        raise AlreadyClaimed.of(path)
    if last is not None:
        return last
    raise FileMissing(
        f"{printable(path)} is not in quarantine: it was not quarantined, or its time there is over.",
        path=path,
        reason="missing",
    )


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
        directory = moving.is_directory(private, entry.name)
        back = partial(roots.system.rename_noreplace, private, entry.name, fd, name, directory=directory)
        moving.renamed(private, entry.name, back)
    except FileNotFoundError:
        if moving.is_there(private, entry.name):
            raise  # the directory was removed just now
        _last_from(path, root)  # a purge was faster; its error is the answer
        raise AlreadyClaimed.of(path) from None
    except FileExistsError:
        taken = "the name is taken; move that file away first"
        raise unsafe(path, "exists", taken, action="restored") from None
    finally:
        close(fd)
    faults.reach("restore.moved")
