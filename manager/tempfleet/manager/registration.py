"""
How files come under management: made here, named by their users, or found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, overload

from ..capacity import check_size, quota_error
from ..cleanup import Cause
from ..deletion import undo_creation
from ..errors import (
    AlreadyClaimed,
    BatchError,
    FileMissing,
    QuotaExceeded,
    RegistryError,
    TempfleetError,
    UnsafePath,
)
from ..filesystem import create_directory, create_file, inspect, new_name, normalise, unsafe
from ..logs import logger, printable
from ..reconciliation import Takeover, UnregisteredFile, take_over
from ..records import FileRecord, Flag, NewFile, Outcome
from ..registry import Fleet, Registration
from ..validation import ttl_ms, validate_tags
from .local_volume import Connected, StrPath
from .results import REJECTED, BatchResult, FileResult, of_record
from .temp_file import TempDirectory, TempFile

DIRECTORY_MODE = 0o700

BinaryMode = Literal["wb", "w+b", "wb+", "xb", "x+b", "xb+", "ab", "a+b", "ab+", "r+b", "rb+"]
TextMode = Literal["w", "w+", "wt", "w+t", "x", "x+", "xt", "x+t", "a", "a+", "at", "a+t", "r+", "r+t"]


class Registering(Connected):
    """Create and register. What this object registered is its own; see the manager's life."""

    _own: dict[str, int] | None  # path -> the process that registered it, in a with block
    _mine: dict[str, int] | None  # the same, for who clears on shutdown

    @overload
    def create(
        self,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        mode: BinaryMode = "w+b",
        encoding: None = None,
        compress: bool = False,
    ) -> TempFile[bytes]: ...

    @overload
    def create(
        self,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        mode: TextMode,
        encoding: str | None = None,
        compress: bool = False,
    ) -> TempFile[str]: ...

    @overload
    def create(
        self,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        mode: str,
        encoding: str | None = None,
        compress: bool = False,
    ) -> TempFile[Any]: ...

    def create(
        self,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        mode: str = "w+b",
        encoding: str | None = None,
        compress: bool = False,
    ) -> TempFile[Any]:
        """
        Make an empty file, registered *before* it exists, so that a crash in between leaks nothing.

        It has an unguessable name, the permissions of the settings' mask, and is open for writing. Used in a
        ``with`` statement it is deleted at the end; otherwise it lives for *ttl* seconds (``max_age`` unless given),
        and its size counts from its ``close`` on. *compress* is as in ``register``; once compressed, the file is known
        by its identity and not by its name alone.

        Raises:
            OSError: the file could not be made; its registration was taken back.
            ValueError: in such a *mode* nobody could write to it; nothing was registered.
        """
        if not set(mode) & set("wxa+"):
            raise ValueError(f"a new file is to be written to; mode {mode!r} only reads")
        flags = Flag.CREATED + (Flag.MAY_COMPRESS if compress else "")
        new = self._new(prefix, suffix, ttl, tags, flags=flags)

        def opener(path: str, flags: int) -> int:
            return create_file(self.roots, os.path.basename(path), mode=self.settings.permission_mask)

        return TempFile(
            register=partial(self.register_inspected, new),
            make=lambda name: open(new.path, mode, encoding=encoding, opener=opener),
            unmake=self._unmake,
            delete=self._delete_made,
            measured=self._count_size,
        )

    def create_dir(
        self, *, prefix: str = "", suffix: str = "", ttl: float | None = None, tags: Sequence[str] = ()
    ) -> TempDirectory:
        """Make an empty directory of mode 0700, managed and deleted as one; otherwise as ``create``."""
        new = self._new(prefix, suffix, ttl, tags, flags=Flag.CREATED.value + Flag.DIRECTORY.value)
        return TempDirectory(
            register=partial(self.register_inspected, new),
            make=lambda name: create_directory(self.roots, name, mode=DIRECTORY_MODE),
            unmake=self._unmake,
            delete=self._delete_made,
        )

    def register_file(self, file_path: StrPath, ttl: float | None = None) -> None:
        """
        Register a file; a path that cannot be registered is logged as a warning and otherwise ignored.

        Registering a waiting file again restarts its age. See ``register`` for the call that raises.
        """
        try:
            self.register(file_path, ttl=ttl)
        except FileMissing:
            logger.warning("Attempted to register non-existent file: %s", _shown(file_path))
        except (UnsafePath, AlreadyClaimed, QuotaExceeded) as exc:
            logger.warning("Attempted to register a file that cannot be: %s", exc)

    def register(
        self,
        path: StrPath,
        *,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        directory: bool = False,
        compress: bool = False,
    ) -> FileRecord:
        """
        Promise that a file lives *ttl* seconds (``max_age`` unless given) from now, and is deleted then.

        Rights beyond TEMP_FILE_PERMISSION_MASK (0600) are taken away from the file. ``unregister`` does not give them
        back, so a file that others must read needs a wider mask.

        Registering a waiting file again: the later deadline wins, its age restarts. Another file under a known name
        replaces the record.

        With *compress* the file may be compressed in place once it was idle for TEMP_FILE_COMPRESS_AFTER; whoever
        reads it uses ``open`` of the manager.

        Raises:
            FileMissing, UnsafePath: nothing was registered; the error says why.
            AlreadyClaimed: exactly this file is being deleted now.
            QuotaExceeded: it is too large, or a limit is reached; the file stays its caller's.
            InvalidTTL: not a number of seconds above zero, at most 366 days.
            InvalidTag: a tag that is empty, has more than 200 characters, or control characters.
        """
        file = self.inspect(path, ttl=ttl, tags=tags, directory=directory, compress=compress)
        (registration,) = self._register([file])
        return self._accepted(registration)

    def register_many(
        self,
        paths: Sequence[StrPath],
        *,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        directory: bool = False,
        confined: Sequence[str] | None = None,
        compress: bool = False,
        make_room: bool = True,
    ) -> list[FileRecord]:
        """
        Register files in batches: one round trip for each thousand. *confined* is as in ``inspect``, *compress* as in
        ``register``. Without *make_room* no other file is deleted for them where a limit is reached and
        TEMP_FILE_QUOTA=evict: they are refused.

        Raises:
            BatchError: some could not be registered. All others were; both lists are on the error.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError("register_many takes a list of paths; register() takes one")
        files: list[NewFile] = []
        errors: dict[str, TempfleetError] = {}
        for path in paths:
            try:
                file = self.inspect(
                    path, ttl=ttl, tags=tags, directory=directory, confined=confined, compress=compress
                )
                files.append(file)
            except (FileMissing, UnsafePath, QuotaExceeded) as exc:
                errors[os.fsdecode(path)] = exc
        records = []
        for registration in self._register(files, make_room=make_room):
            try:
                records.append(self._accepted(registration))
            except (AlreadyClaimed, QuotaExceeded) as exc:
                errors[registration.file.path] = exc
        if errors:
            raise BatchError(records=records, errors=errors)
        return records

    def register_batch(
        self,
        paths: Sequence[StrPath],
        *,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        make_room: bool = True,
    ) -> BatchResult:
        """As ``register_many``; a file that cannot be registered is a line of the result, and no error."""
        began = time.monotonic()
        records: Sequence[FileRecord] = ()
        errors: Mapping[str, TempfleetError] = {}
        try:
            records = self.register_many(paths, ttl=ttl, tags=tags, make_room=make_room)
        except BatchError as exc:
            records, errors = exc.records, exc.errors
        results = [of_record(record) for record in records] + [
            FileResult(
                path,
                Outcome.MISSING.value if isinstance(exc, FileMissing) else REJECTED,
                str(exc),
            )
            for path, exc in errors.items()
        ]
        return BatchResult(results, time.monotonic() - began)

    def unregistered(self, *, idle: float | None = None) -> Iterator[list[UnregisteredFile]]:
        """
        The regular files in the base directory that nobody registered, in pages; see ``adopt``. Not those that changed
        in the last *idle* seconds (``max_age`` unless given): their users may be about to register them.
        """
        self.cleaner.check_volume()
        return self.local_volume.unregistered.pages(idle_seconds=self.max_age if idle is None else idle)

    def adopt(
        self, *, idle: float | None = None, ttl: float | None = None, tags: Sequence[str] = ()
    ) -> BatchResult:
        """
        Register every file of the base directory that nobody registered (after Redis lost its data, say), to live for
        *ttl* seconds from now, ``max_age`` unless given. What was found is as in ``unregistered``; what cannot be
        registered is a line of the result. Nothing is deleted to make room for it.
        """
        began = time.monotonic()
        results: list[FileResult] = []
        for page in self.unregistered(idle=idle):
            paths = [found.path for found in page]
            results += self.register_batch(paths, ttl=ttl, tags=tags, make_room=False).files
        return BatchResult(results, time.monotonic() - began)

    def take_over(self, host: str, *, progress: Callable[[int], None] | None = None) -> Takeover:
        """
        Have what *host* registered in this base directory, whose disk is here now, as it was there: deadlines, holds,
        dead letters. For a host that does not come back; see takeover.py.

        Args:
            progress: is given the number of records that have moved so far, page by page.

        Raises:
            UnknownHost, HostLive, VolumeUnavailable: nothing changed.
        """
        self.cleaner.check_volume()
        fleet = Fleet(self.store, live_seconds=self.settings.host_live_seconds)
        return take_over(host, self.registry, self.roots, fleet, progress=progress)

    def inspect(
        self,
        path: StrPath,
        *,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        directory: bool = False,
        confined: Sequence[str] | None = None,
        age_seconds: float = 0,
        compress: bool = False,
    ) -> NewFile:
        """
        What registering *path* would send; raises as ``register`` does, changes nothing.

        *confined* narrows where it may be to below these directories, for callers who speak for a stranger.
        """
        if compress and directory:
            raise ValueError("compress is for files; a directory is not compressed")
        absolute = normalise(path)
        if directory:
            self._refuse_volumes(absolute)
        found = inspect(
            absolute,
            self.roots,
            ttl_ms=ttl_ms(self.max_age if ttl is None else ttl),
            tags=validate_tags(tags),
            directory=directory,
            confined=confined,
            age_ms=round(age_seconds * 1000),
        )
        return check_size(
            replace(found, flags=found.flags + Flag.MAY_COMPRESS) if compress else found, self.settings
        )

    def _refuse_volumes(self, path: str) -> None:
        """The roots know of our own base directory; another volume's is as little to be deleted with all its files."""
        volumes = Fleet(self.registry.store).volumes(host=self.settings.host)
        if any(f"{volume.base_dir}/".startswith(f"{path}/") for volume in volumes):
            raise unsafe(path, "root")

    def register_inspected(self, file: NewFile) -> FileRecord:
        """Register what ``inspect`` found."""
        (registration,) = self._register([file])
        return self._accepted(registration)

    def _new(
        self, prefix: str, suffix: str, ttl: float | None, tags: Sequence[str], *, flags: str
    ) -> NewFile:
        """What creating registers."""
        self.cleaner.check_volume()
        return NewFile(
            path=os.path.join(self.roots.base.path, new_name(prefix, suffix)),
            ttl_ms=ttl_ms(self.max_age if ttl is None else ttl),
            flags=flags,
            uid=os.geteuid(),
            tags=validate_tags(tags),
        )

    def _unmake(self, record: FileRecord) -> None:
        undo_creation(self.roots, os.path.basename(record.path))
        self.registry.unregister([record.path], total="missing")

    def _count_size(self, record: FileRecord, size_bytes: int) -> None:
        """What the file came to hold; it is there and registered whether that can be told or not."""
        try:
            self.registry.amend(
                record.path,
                expected=record.identity,
                identity=record.identity,
                marks="",
                size_bytes=size_bytes,
            )
        except RegistryError as exc:
            logger.warning("The size of %s is not counted: %s", printable(record.path), exc)

    def _delete_made(self, record: FileRecord) -> None:
        self.cleaner.clean_paths([[record.path]], Cause.DISCARDED, until_ms=self.registry.now_ms())

    def _register(self, files: Sequence[NewFile], *, make_room: bool = True) -> list[Registration]:
        registrations, own = self.local_volume.admission.register(files, make_room=make_room), self._own
        for registration in registrations:
            if not registration.is_accepted:
                continue
            for mine in (own, self._mine):
                if mine is not None:
                    mine[registration.file.path] = os.getpid()
            logger.debug("Registered temporary file: %s", printable(registration.file.path))
        return registrations

    def _register_aged(self, path: str, age_seconds: float) -> None:
        self.register_inspected(self.inspect(path, age_seconds=age_seconds))

    def _accepted(self, registration: Registration) -> FileRecord:
        path = registration.file.path
        if registration.code == "claimed":
            raise AlreadyClaimed.of(path)
        if refused := quota_error(registration, self.settings):
            raise refused
        return registration.record


def _shown(path: StrPath) -> str:
    return printable(os.path.abspath(os.fsdecode(path)))
