"""
The recovery scan: what dead processes left in the private directories between a rename and the unlink.

Usually the next claim of the record finds the file there. But the record may not be due for a long time, it may be of
another file of that name by now, or Redis may have lost it. The journals show what the entries are. For an entry that
its process had moved, and not begun to destroy:

    it was unregistered since                               it gets its name back, and no record
    it is not the file of the journal, or cannot be told    it gets its name back, because it may be a stranger's
    the registry has its record                             it gets its name back, unless another file has the name
    the registry has the record of another file there       it is deleted: its claim said so, and its name is re-used
    the registry has no record there                        the same, after it was registered again

What was begun stays begun, unless it was unregistered. The claim of its record goes on with it, or this scan does if
there is no such record.

A file whose directory is gone stays in the private directory with its journal (see ``stranded``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ..errors import RegistryError
from ..filesystem import ASIDE, FROM, NOTE, Entry, EntryState, Identity, Root, Roots, digest_of
from ..logs import logger, printable
from ..records import FileRecord, Flag, NewFile
from . import companion, exchange, moving
from . import failpoints as faults
from .comparison import SAME, compare
from .journal import abandoned
from .promises import NOBODY, NoRegistry, Owner, Promises, Records
from .session import Session
from .skip import Unchanged

Delete = Callable[[FileRecord, int], object]
"""Deletes a file that the registry has no record of, under the token of the claim that it had."""

_COMPANION_SECONDS = 3600
"""The file of a younger companion may still be about to be moved there."""

_KEPT = (Flag.DIRECTORY, Flag.MAY_COMPRESS, Flag.COMPRESSED, Flag.INCOMPRESSIBLE)
"""The flags of a record that is made again."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    One file of a dead process.

    Attributes:
        path: the name that it had, or that it has again if *back*.
        back: False if it was deleted, or could not be moved back.
    """

    path: str
    back: bool


def is_ours(owner: Owner, promises: Records) -> bool:
    """Whether *owner* is our registry, or nobody: then the files concern no record."""
    return owner == NOBODY or owner.is_same(promises.owner())


def recover(roots: Roots, promises: Promises | None = None, delete: Delete | None = None) -> list[Recovered]:
    """
    Go through the private directories of *roots* that answer. Files of other registries are left to those.

    Raises:
        RegistryError: the registry cannot be read. Nothing is lost; repeat the call.
    """
    promises = promises or NoRegistry()
    promises.owner(fresh=True)

    def recover_in(root: Root) -> list[Recovered]:
        with roots.use():
            return list(_recover_in(root, roots, promises, delete))

    return [file for files in roots.each(recover_in) for file in files]


def _recover_in(root: Root, roots: Roots, promises: Promises, delete: Delete | None) -> Iterator[Recovered]:
    private = root.private.peek()
    if private < 0:
        return
    names = root.private.names()
    _forget_companions(private, names)
    for name, token, note in abandoned(private, names):
        if note is None:
            continue
        files = {digest_of(file.path): file for file in note.files}
        with Session(
            roots, roots.settings, [], token=token, may_go_on=lambda: True, promises=promises
        ) as session:
            yield from _Batch(root, private, files, note.owner, session, delete).recover()
        if not left_of(root, token, files):
            try:
                os.unlink(name, dir_fd=private)
            except FileNotFoundError:
                pass


def is_moving(roots: Roots) -> bool:
    """Whether a process that lives, perhaps stopped, is moving files in the private directories of *roots*."""

    def moves(root: Root) -> bool:
        with roots.use():
            names = root.private.names()
            journals = sum(name.startswith(f"{NOTE}.") for name in names)
            return bool(journals) and journals > sum(1 for _ in abandoned(root.private.peek(), names))

    return any(roots.each(moves))


def is_moved(path: str, roots: Roots) -> bool:
    """Whether the file of *path* is in a private directory, and may get its name back."""
    root, digest = roots.find(path), digest_of(path)
    with roots.use():
        return root is not None and any(
            entry.digest == digest and entry.state is EntryState.MOVED for entry in root.private.entries()
        )


def left_of(root: Root, token: int, files: Mapping[str, FileRecord]) -> list[Entry]:
    """
    The entries that the batch of *token* left: being moved, being destroyed, or the other form of a file. *files* are
    those of its journal, by digest. What is in quarantine has a companion.
    """
    return [
        entry
        for entry in root.private.entries()
        if entry.token == token and entry.digest in files and entry.state is not EntryState.ASIDE
    ]


def _forget_companions(private: int, names: list[str]) -> None:
    """Remove the companions of files that never came, or that left the quarantine just before their process died."""
    there = set(names)
    for name in names:
        entry = Entry.parse(name.removesuffix(FROM) + ASIDE) if name.endswith(f".{FROM}") else None
        if entry is None or not there.isdisjoint((entry.name, entry.begun_name)):
            continue
        try:
            age = time.time() - os.stat(name, dir_fd=private, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            continue  # its maker, or another scan, was faster
        if age > _COMPANION_SECONDS:
            companion.forget(private, entry)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The batch of a dead process. Its journal is locked meanwhile."""

    root: Root
    private: int
    files: Mapping[str, FileRecord]
    owner: Owner
    session: Session
    delete: Delete | None

    def recover(self) -> Iterator[Recovered]:
        # Listed after the journal was locked: before that, its process was perhaps still moving files.
        # A registry that sees the disk below another path looks after its files itself.
        entries = [
            entry
            for entry in left_of(self.root, self.session.token, self.files)
            if self.files[entry.digest].path.startswith(self.root.prefix)
        ]
        files = [self.files[entry.digest] for entry in entries]
        ours = is_ours(self.owner, self.session.promises)
        paths = [file.path for file in files if ours]
        nothing: list[FileRecord | None] = [None] * len(files)
        now_ms, records = self.session.promises.read(paths) if paths else (0, nothing)
        former = self.session.promises.former(paths) if paths else nothing
        for entry, file, record, before in zip(entries, files, records, former, strict=True):
            try:
                if before is not None and self._is_released(entry, record, before):
                    yield self._release(entry, before)
                    continue
                result = self._recover_one(entry, file, record, now_ms) if ours else self._return(entry, file)
            except FileNotFoundError:
                continue  # another claimer was faster; or its directory is gone, and the journal stays
            except (OSError, moving.NotPutBack, Unchanged, RegistryError) as exc:
                logger.error("%s is kept in %s: %s", printable(file.path), self.root.private.path, exc)
                continue
            if result is not None:
                faults.reach("recovery.put-back")
                yield result

    def _return(self, entry: Entry, file: FileRecord) -> Recovered | None:
        """
        Of another registry's batch: only what is not its file gets its name back, because its record is not known here.
        A namesake's file gets it back, too, if the name is free. It has its record if that registry is still there;
        otherwise it is in the same place as all others that lost their records.
        """
        if entry.state is not EntryState.MOVED:
            return None
        fd, name = self.session.parent(self.root, file.path), os.path.basename(file.path)
        if compare(file, self.root, self.private, entry.name, self.session.reader) is SAME:
            is_namesake = self.owner.is_namesake(self.session.promises.owner())
            if not is_namesake or moving.is_there(fd, name):
                return None
        moving.put_back(self.private, entry.name, fd, name, self.session)
        return Recovered(file.path, back=True)

    def _is_released(self, entry: Entry, record: FileRecord | None, before: FileRecord) -> bool:
        """Whether *entry* is a file that was unregistered with the record *before*, and has no *record* now."""
        if entry.state is EntryState.FORM:
            return False
        answers = [
            known is not None
            and compare(known, self.root, self.private, entry.name, self.session.reader) is SAME
            for known in (record, before)
        ]
        return answers == [False, True]

    def _release(self, entry: Entry, before: FileRecord) -> Recovered:
        """Its user keeps it, also if a part of it is gone."""
        fd, name = self.session.parent(self.root, before.path), os.path.basename(before.path)
        moving.put_back(self.private, entry.name, fd, name, self.session)
        self.session.promises.forget_former(before)
        return Recovered(before.path, back=True)

    def _recover_one(
        self, entry: Entry, file: FileRecord, record: FileRecord | None, now_ms: int
    ) -> Recovered | None:
        reader, session = self.session.reader, self.session
        if entry.state is EntryState.FORM:
            exchange.recover(file, self.root, self.private, session)
            return None
        covered = record is not None and compare(record, self.root, self.private, entry.name, reader) is SAME
        begun = entry.state is EntryState.BEGUN
        if begun and covered and record is not None and Flag.BEGUN in record.flags:
            return None
        ours = begun or compare(file, self.root, self.private, entry.name, reader) is SAME
        if begun or (ours and record is not None and not covered):
            if self.delete is not None:
                self.delete(file, session.token)
            return Recovered(file.path, back=False)
        fd, name = session.parent(self.root, file.path), os.path.basename(file.path)
        if ours and moving.is_there(fd, name):
            return None  # the record finds it here; without one it waits until the name is free
        if ours and (record is None or Identity(record.identity).is_weak):
            return self._register(entry, record or file, fd, now_ms)
        moving.put_back(self.private, entry.name, fd, name, session)
        return Recovered(file.path, back=True)

    def _register(self, entry: Entry, file: FileRecord, fd: int, now_ms: int) -> Recovered:
        """
        Give *entry* a name and a record again, with what is left of its time.
        """
        session, promises = self.session, self.session.promises
        reader, name = session.reader, os.path.basename(file.path)
        left_ms = file.deadline_ms - now_ms

        def register(directory: int, name: str) -> None:
            status = reader.stat(directory, name)
            identity = Identity.of(reader, directory, name, status, handles=self.root.handles)
            flags = "".join(flag for flag in file.flags if flag in _KEPT)
            promises.register(
                NewFile(file.path, max(left_ms, 1), status.size, identity, flags, status.uid, file.tags)
            )

        # The record comes first: after a crash in between, its claim finds the file here. A weak identity changes with
        # the name.
        weak = Identity(file.identity).is_weak
        if not weak:
            register(self.private, entry.name)
        directory = moving.is_directory(self.private, entry.name)
        back = session.roots.system.rename_noreplace
        move = partial(back, self.private, entry.name, fd, name, directory=directory)
        moving.renamed(self.private, entry.name, move)
        if weak:
            register(fd, name)
        return Recovered(file.path, back=True)
