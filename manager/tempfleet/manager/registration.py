"""
Inspect, admit and register files, one or many; remember which are our own; unregister them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from ..capacity import check_size, quota_error
from ..errors import (
    AlreadyClaimed,
    FileHeld,
    FileMissing,
    NotRegistered,
    QuotaExceeded,
    TempfleetError,
    TooManyTags,
    UnsafePath,
    VolumeUnavailable,
)
from ..filesystem import StrPath, inspect, normalise, unsafe
from ..logs import logger, printable
from ..records import FileRecord, Flag, NewFile
from ..registry import Fleet, Registration
from ..validation import ttl_ms, validate_tags
from .local_volume import LocalVolume
from .own_files import MOST_RECENT, OwnFiles
from .restoring import decompress_if_there
from .serving import warn_of_unknown_host
from .temp_file import Created


@dataclass(frozen=True, slots=True)
class Terms:
    """
    The terms on which files are registered.

    Attributes:
        confined: the files must be below one of these directories; None for any root.
        age_seconds: how long ago the files were registered.
        uid: the files must belong to this user; None for any.
    """

    ttl_ms: int
    tags: tuple[str, ...]
    directory: bool = False
    compress: bool = False
    confined: Sequence[str] | None = None
    age_seconds: float = 0
    uid: int | None = None

    @classmethod
    def of(
        cls,
        ttl: float,
        tags: Sequence[str],
        *,
        directory: bool = False,
        compress: bool = False,
        confined: Sequence[str] | None = None,
        age_seconds: float = 0,
        uid: int | None = None,
    ) -> Terms:
        """
        Check the arguments of a public call.

        Raises:
            InvalidTTL, InvalidTag, TooManyTags: as ``validation``.
            ValueError: both *directory* and *compress* are set.
        """
        if compress and directory:
            raise ValueError("compress is for files; a directory is not compressed")
        return cls(ttl_ms(ttl), validate_tags(tags), directory, compress, confined, age_seconds, uid)


class Registrar:
    """
    Registers files in one volume.

    Attributes:
        in_block: the files that were registered since a ``with`` block began; None outside of one.
        until_exit: the files to delete when the process ends; None if they stay.
        created: the files and directories that ``create`` returned, while somebody refers to them.
        recent: the last files that were registered, in a block or not, so that they are still known as our own.
    """

    def __init__(self, local: LocalVolume) -> None:
        self.local = local
        self.in_block: OwnFiles | None = None
        self.until_exit: OwnFiles | None = None
        self.created: WeakValueDictionary[str, Created[Any]] = WeakValueDictionary()
        self._is_known = False
        self.recent = OwnFiles(MOST_RECENT)

    def own_ms(self, path: str) -> int | None:
        """
        Returns ``registered_ms`` of a file that this object registered; None for a file of others, and for a file that
        was registered too long ago and that no block or exit deletes. The registry then counts this object as another
        registrant of the file.
        """
        for own in self._lists:
            if (registered_ms := own.registered_ms(path)) is not None:
                return registered_ms
        created = self.created.get(path)
        return None if created is None else created.own_ms

    def inspect(self, path: StrPath, terms: Terms) -> NewFile:
        """
        Returns what registering *path* sends to the registry; changes nothing.

        Raises:
            FileMissing, UnsafePath, QuotaExceeded: the file cannot be registered.
        """
        absolute = normalise(path)
        if terms.directory:
            self._refuse_volumes(absolute)
        file = inspect(
            absolute,
            self.local.roots,
            ttl_ms=terms.ttl_ms,
            tags=terms.tags,
            directory=terms.directory,
            confined=terms.confined,
            age_ms=round(terms.age_seconds * 1000),
            uid=terms.uid,
        )
        if terms.compress:
            file = replace(file, flags=file.flags + Flag.MAY_COMPRESS)
        return check_size(file, self.local.settings)

    def register(self, file: NewFile) -> FileRecord:
        """
        Raises:
            AlreadyClaimed, TooManyTags, QuotaExceeded: the file was not registered.
            FileMissing: it was deleted meanwhile, with the directory that it was in.
        """
        (registration,) = self._admit([file])
        return self._accepted(registration)

    def register_created(self, file: NewFile, created: Created[Any]) -> FileRecord:
        """As ``register``, for a file that *created* creates or has just created."""
        self.created[file.path] = created
        return self.register(file)

    def register_many(
        self, paths: Iterable[StrPath], terms: Terms, *, make_room: bool
    ) -> tuple[list[FileRecord], dict[str, TempfleetError]]:
        """Returns the records of the registered files, and path -> error of the others."""
        files: list[NewFile] = []
        errors: dict[str, TempfleetError] = {}
        for path in paths:
            try:
                files.append(self.inspect(path, terms))
            except (FileMissing, UnsafePath, QuotaExceeded, VolumeUnavailable) as exc:
                errors[os.fsdecode(path)] = exc
        records = []
        for registration in self._admit(files, make_room=make_room):
            try:
                records.append(self._accepted(registration))
            except (AlreadyClaimed, TooManyTags, QuotaExceeded, FileMissing, VolumeUnavailable) as exc:
                errors[registration.file.path] = exc
        return records, errors

    def unregister(self, path: str, *, with_held: bool = True, name: str = "") -> None:
        """
        As ``Registry.unregister``, for one file.

        Raises:
            NotRegistered, AlreadyClaimed, FileHeld: nothing changed.
            CompressionUnavailable, OSError: it could not be decompressed and is still registered.
        """
        registry = self.local.registry
        own_ms = self.own_ms(path)
        own = {} if own_ms is None else {path: own_ms}
        # Its user keeps it, so it must not stay where an interrupted deletion left it.
        if not self._exists(path):
            deleter = self.local.cleaner.deleter
            deleter.recover()
            if deleter.is_moved(path):
                # By a process that is stopped. If it dies, the file gets a record again.
                raise AlreadyClaimed.of(path)
        code = registry.unregister([path], with_held=with_held, name=name, own=own)[path]
        if code == "held":
            registry.reap()  # perhaps that hold is over
            code = registry.unregister([path], with_held=with_held, name=name, own=own)[path]
        if code == "compressed":
            total = "released" if decompress_if_there(self.local, path) else "missing"
            code = registry.unregister([path], total=total, with_held=with_held, name=name, own=own)[path]
        if code == "absent":
            raise NotRegistered.of(path, self.local.volume.in_words)
        if code == "held":
            raise FileHeld.of(path)
        if code != "released":
            raise AlreadyClaimed.of(path, compressing=code == "compressed")
        for files in self._lists:
            files.forget(path)

    @property
    def _lists(self) -> list[OwnFiles]:
        return [own for own in (self.in_block, self.until_exit, self.recent) if own is not None]

    def _admit(self, files: Sequence[NewFile], *, make_room: bool = True) -> list[Registration]:
        own = {file.path: ms for file in files if (ms := self.own_ms(file.path)) is not None}
        registrations = self._refuse_claimed_beside(
            self.local.admission.register(files, own, make_room=make_room)
        )
        for registration in registrations:
            if registration.is_accepted:
                self._remember(registration)
        if not self._is_known:
            self._refuse_moved_base()
            self._is_known = True
            warn_of_unknown_host(self.local)
        return registrations

    def _refuse_claimed_beside(self, registrations: list[Registration]) -> list[Registration]:
        """
        Refuse files that another volume of this host is deleting now: it asked this volume, perhaps before they were
        registered. Nobody is asked if the host has one volume, nor about files that were registered before.
        """
        fresh = {
            registration.file.path: registration
            for registration in registrations
            if registration.is_accepted
            and registration.beside
            and registration.code != "again"
            # create() has not made it yet
            and Flag.CREATED not in registration.file.flags
        }
        if not fresh:
            return registrations
        claimed = self.local.cleaner.previews.beside.claimed(next(iter(fresh.values())).beside, list(fresh))
        if not claimed:
            return registrations
        for path in claimed:
            if fresh[path].code == "new":
                own = {path: fresh[path].registered_ms}
                self.local.registry.unregister([path], until_ms=own[path], own=own)
        return [
            replace(registration, code="claimed", packed=b"")
            if registration.file.path in claimed
            else registration
            for registration in registrations
        ]

    def _remember(self, registration: Registration) -> None:
        path = registration.file.path
        for own in self._lists:
            own.add(path, registration.registered_ms)
        if (created := self.created.get(path)) is not None:
            created.record = registration.record
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("Registered temporary file: %s", printable(path))

    def _accepted(self, registration: Registration) -> FileRecord:
        registration.check()
        if refused := quota_error(registration, self.local.settings):
            raise refused
        self._refuse_gone(registration.file.path)
        return registration.record

    def _refuse_gone(self, path: str) -> None:
        """
        Refuse a file that is gone. It was inspected before it was registered. In between, a directory above it may have
        been moved away to be deleted, and nobody found a record of the file. The base directory is never deleted.

        Its record is dropped when it expires.
        """
        if os.path.dirname(path) != self.local.roots.base.path and not self._exists(path):
            raise FileMissing.of(path)

    def _exists(self, path: str) -> bool:
        return self.local.roots.run_at(path, partial(os.path.lexists, path))

    def _refuse_moved_base(self) -> None:
        """Until a volume's first registration nobody knows it, so a directory above it may have been deleted."""
        base = self.local.roots.base
        if reason := base.moved():
            raise VolumeUnavailable(
                f"{printable(base.path)} is not the directory that was opened",
                base_dir=base.path,
                reason=reason,
            )

    def _refuse_volumes(self, path: str) -> None:
        """
        Refuse a directory that contains the base directory of a volume, because it is deleted with all its files. The
        roots know our own base directory only.
        """
        volumes = Fleet(self.local.store).volumes(host=self.local.settings.host)
        if any(f"{volume.base_dir}/".startswith(f"{path}/") for volume in volumes):
            raise unsafe(path, "root")
