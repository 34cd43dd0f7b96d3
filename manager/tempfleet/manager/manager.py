"""
TempFileManager: the class that users hold. Each method is a thin line from a path to one call of a room below.

The methods follow the life of a file: create and register, keep, read, delete. Then come the calls for people who
operate a volume, and the life of the manager itself.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import IO, Any, Unpack, overload

import redis

from ..capacity import EvictionReport, Evictor
from ..cleanup import Cause, Cleaner, CleanupReport, HostClock, Outlook
from ..compression import CompressionReport, Compressor, open_content
from ..deletion import QuarantinedFile, check_place, origin_of
from ..diagnostics import Explanation, Finding, diagnose, health_check, keeping, registered_elsewhere
from ..errors import (
    AlreadyClaimed,
    BatchError,
    FileMissing,
    HeldByAnother,
    ManagerClosed,
    NotRegistered,
    QuotaExceeded,
    RegistryError,
    TempfleetError,
    UnsafePath,
    VolumeUnavailable,
)
from ..filesystem import Roots, StrPath, normalise, normalise_prefix
from ..logs import logger, printable
from ..reconciliation import (
    Takeover,
    UnregisteredFile,
    accepted_roots,
    disk_identity_of,
    take_over,
    uid_of,
    verify_unverified,
)
from ..records import NEAR_EXPIRY, Deletion, FileRecord, NewFile, Outcome, State, has_prefix
from ..registry import (
    DISK,
    DISKS,
    Clock,
    Fleet,
    FleetClock,
    Forgetting,
    Registry,
    Store,
    VolumeStats,
    forget,
    server_clock,
)
from ..settings import Settings
from ..validation import hold_ms, hold_reason, ttl_ms, validate_tags
from .creator import BinaryMode, CreateOptions, Creator, TextMode
from .files import Files
from .keeper_name import keeper_name, own_name
from .local_volume import LocalVolume
from .own_files import OwnFiles
from .redis_client import client_of
from .registration import Registrar, Terms
from .restoring import restore
from .results import BatchResult, FileResult, of_deletions, of_errors, of_records
from .shutdown import Place, watch
from .temp_file import TempDirectory, TempFile, or_when_it_expires

__all__ = ["TempFileManager"]


class TempFileManager:
    """
    The temporary files of one base directory on one host.

    Any number of managers, threads and processes may use the same base directory; they share one registry. Two base
    directories never see each other's files. A manager survives a fork and can be pickled; the copy connects anew.

    Args:
        base_dir: where created files go; created with mode 0700 if it does not exist.
        max_age: how many seconds a file lives, unless it has its own ``ttl``.
        settings: used instead of the environment; the other arguments replace single settings.
        client: a redis.Redis to use instead of a connection to the settings' URL; such a manager cannot be pickled. If
            it repeats calls, waits without a bound or decodes answers, the manager uses connections of its own that
            are like it; the client itself is not changed.
        clock, host_clock: for tests: the time of the registry, and the clocks of this host.

    Raises:
        OSError: the base directory cannot be created.
        InvalidTTL: *max_age* is not a time to live.
        SettingsError: a setting, a root or *client* is not valid.

    Redis is first asked at the first call that needs it; any such call may raise a RegistryError. After
    RegistryUnavailable the call may or may not have happened, because its answer can be lost. Each method says what is
    true then; docs/guarantees.md has a table. A call waits for Redis for TEMP_FILE_REDIS_TIMEOUT (5 s).
    """

    def __init__(
        self,
        base_dir: StrPath | None = None,
        max_age: float | None = None,
        *,
        settings: Settings | None = None,
        host: str | None = None,
        redis_url: str | None = None,
        client: redis.Redis | None = None,
        clock: Clock = server_clock,
        host_clock: HostClock | None = None,
    ) -> None:
        if max_age is not None:
            ttl_ms(max_age)
        arguments = {"max_age_seconds": max_age, "host": host, "redis_url": redis_url}
        directory = None if base_dir is None else os.fsdecode(base_dir)
        self.settings = Settings.load(settings, base_dir=directory, **arguments)
        self.max_age: float = self.settings.max_age_seconds if max_age is None else max_age
        self.lock = threading.Lock()  # for callers who want one; nothing here ever takes it
        self._own_client = client
        self._clock, self._host_clock = clock, host_clock
        self._connect()
        if self.settings.cleanup_on_start:
            self._clean_first()

    # -- create and register

    @overload
    def create(
        self, *, mode: BinaryMode = "w+b", encoding: None = None, **options: Unpack[CreateOptions]
    ) -> TempFile[bytes]: ...

    @overload
    def create(
        self, *, mode: TextMode, encoding: str | None = None, **options: Unpack[CreateOptions]
    ) -> TempFile[str]: ...

    @overload
    def create(
        self, *, mode: str, encoding: str | None = None, **options: Unpack[CreateOptions]
    ) -> TempFile[Any]: ...

    def create(
        self, *, mode: str = "w+b", encoding: str | None = None, **options: Unpack[CreateOptions]
    ) -> TempFile[Any]:
        """
        Create an empty file, registered *before* it exists, so that a crash in between leaks nothing.

        The file has an unguessable name and the permissions of the settings' mask, and is open for writing. A ``with``
        statement deletes it at its end. Otherwise it lives for *ttl* seconds (``max_age`` if not given), and its size
        counts from its ``close`` on.

        Args:
            options: *prefix* and *suffix* of the name; *ttl*, *tags* and *compress* as in ``register``. Once it is
                compressed, the file is identified by its identity and not by its name alone.

        Raises:
            OSError: the file could not be created; its registration was undone.
            ValueError: *mode* does not write; nothing was registered.
            RegistryUnavailable: there is no file. Perhaps there is a record without one, which is dropped when it
                expires.
        """
        return self._creator.create(mode, encoding, self.max_age, **options)

    def create_dir(
        self, *, prefix: str = "", suffix: str = "", ttl: float | None = None, tags: Sequence[str] = ()
    ) -> TempDirectory:
        """Create an empty directory of mode 0700, registered and deleted as a whole; otherwise as ``create``."""
        return self._creator.create_dir(prefix, suffix, self.max_age if ttl is None else ttl, tags)

    def register_file(self, file_path: StrPath, ttl: float | None = None) -> None:
        """
        Register a file. If it cannot be registered, log a warning and return, also if Redis does not answer.

        Registering a waiting file again restarts its age. ``register`` raises instead.
        """
        try:
            self.register(file_path, ttl=ttl)
        except FileMissing:
            path = printable(os.path.abspath(os.fsdecode(file_path)))
            logger.warning("Attempted to register non-existent file: %s", path)
        except (UnsafePath, AlreadyClaimed, QuotaExceeded) as exc:
            logger.warning("Attempted to register a file that cannot be registered: %s", exc)
        except ManagerClosed:
            raise
        except VolumeUnavailable as exc:
            logger.warning("Attempted to register a file that cannot be registered: %s", exc)
        except RegistryError as exc:
            logger.warning("%s may not be registered: %s", printable(os.fsdecode(file_path)), exc)

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
        Register a file: it lives for *ttl* seconds (``max_age`` if not given) from now, and is then deleted.

        Permissions beyond TEMP_FILE_PERMISSION_MASK (0600) are removed from the file. ``unregister`` does not restore
        them, so a file that others must read needs a wider mask.

        If a waiting file is registered again, by anybody, the later deadline counts, its age restarts, and it has the
        tags of all its registrations. Another file under a registered name replaces the record.

        Args:
            compress: the file may be compressed in place after it was idle for TEMP_FILE_COMPRESS_AFTER; its readers
                use ``open`` of the manager. A file with several registrations is compressed only if all of them asked.

        Raises:
            FileMissing, UnsafePath: nothing was registered; the error says why.
            RegistryUnavailable: the file may be registered, and is then deleted when it expires, but not at the end of
                a block or of the process. Register it again, or unregister it if it must stay.
            AlreadyClaimed: this very file is being deleted now.
            QuotaExceeded: the file is too large, or a limit is reached; the file stays and is not registered.
            InvalidTTL: not a number of seconds above zero, at most 366 days.
            InvalidTag: a tag is empty, has more than 200 characters, or contains control characters.
            TooManyTags: the file would have more than 32 tags.
        """
        file = self.inspect(path, ttl=ttl, tags=tags, directory=directory, compress=compress)
        return self.register_inspected(file)

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
        Register files in batches: one round trip per thousand files.

        Args:
            confined: as in ``inspect``.
            compress: as in ``register``.
            make_room: False: if a limit is reached, files are refused, also with TEMP_FILE_QUOTA=evict.

        Raises:
            BatchError: some files could not be registered. All others were; both lists are on the error.
            RegistryUnavailable: any of the files may be registered; see ``register``.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError("register_many takes a list of paths; register() takes one")
        terms = Terms.of(
            self.max_age if ttl is None else ttl,
            tags,
            directory=directory,
            compress=compress,
            confined=confined,
        )
        records, errors = self._registrar.register_many(paths, terms, make_room=make_room)
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
        """As ``register_many``, but a file that cannot be registered is an entry of the result, not an error."""
        began = time.monotonic()
        try:
            results = of_records(self.register_many(paths, ttl=ttl, tags=tags, make_room=make_room))
        except BatchError as exc:
            results = of_records(exc.records) + of_errors(exc.errors)
        return BatchResult(results, time.monotonic() - began)

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
        Returns what registering *path* would send to the registry. Changes no record; raises as ``register`` does.

        Args:
            confined: the file must be below one of these directories. For callers who act for a stranger.
            age_seconds: how long ago it was registered.
        """
        terms = Terms.of(
            self.max_age if ttl is None else ttl,
            tags,
            directory=directory,
            compress=compress,
            confined=confined,
            age_seconds=age_seconds,
        )
        return self._registrar.inspect(path, terms)

    def register_inspected(self, file: NewFile) -> FileRecord:
        """Register what ``inspect`` returned."""
        return self._registrar.register(file)

    # -- keep

    def renew(self, path: StrPath, *, ttl: float | None = None) -> float:
        """
        Move a file's deadline to *ttl* seconds from now, never earlier. Returns the deadline (seconds, Redis clock).

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            RegistryUnavailable: perhaps the deadline is later now. Repeat it.
        """
        life = ttl_ms(self.max_age if ttl is None else ttl)
        absolute = normalise(path)
        own_ms = self._registrar.own_ms(absolute)
        return self.registry.renew(absolute, ttl_ms=life, own_ms=own_ms) / 1000

    def hold(
        self,
        path: StrPath,
        seconds: float | None = None,
        *,
        reason: str | None = None,
        name: str | None = None,
    ) -> float | None:
        """
        Keep a file for *seconds* (for ever if not given), whatever its deadline. A file can have several holds, and
        stays until the last one ends. Returns the end of this hold (seconds, Redis clock), None if it has no end.

        Args:
            reason: for people; shown by ``tempfleet ls`` and ``explain``.
            name: who holds the file; login@program if not given. A name holds a file once: of two holds the later end
                counts, with its reason.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            RegistryUnavailable: the file may be held. Repeat it, or end it with ``unhold``.
            ReasonTooLong: *reason* has more than 500 characters; nothing changed.
            InvalidHoldName: *name* is empty, has more than 200 characters, or contains control characters.
        """
        absolute, length, why = normalise(path), hold_ms(seconds), hold_reason(reason)
        own_ms = self._registrar.own_ms(absolute)
        end = self.registry.hold(absolute, hold_ms=length, reason=why, name=keeper_name(name), own_ms=own_ms)
        return None if end is None else end / 1000

    def unhold(self, path: StrPath, *, name: str | None = None, force: bool = False) -> bool:
        """
        End the caller's own hold; returns False if there was none. After its last hold, the file expires at its own
        deadline again.

        Args:
            name: of the hold; login@program if not given.
            force: must be set for any other *name*. The audit log names the ended hold and the caller.

        Raises:
            NotRegistered, HeldByAnother: nothing changed.
            RegistryUnavailable: the hold may have ended. Repeat it; False then means that it had.
        """
        absolute, name, own = normalise(path), keeper_name(name), own_name()
        if name != own and not force:
            if any(keeper.name == name for keeper in self.registry.keepers(absolute)):
                raise HeldByAnother.of(absolute, name, own)
            if self.get_record(absolute) is None:
                raise NotRegistered.of(absolute, self.registry.volume.in_words)
            return False
        existed = self.registry.unhold(absolute, name=name)
        if existed and name != own:
            self.cleaner.deleter.audit_unheld(absolute, name, by=own)
        return existed

    def unregister(self, path: StrPath, *, with_held: bool = True, force: bool = False) -> None:
        """
        Stop managing a file. It stays as it is; a compressed file is decompressed first. The caller's own hold ends.

        Args:
            with_held: False: refuse to unregister a held file. For callers who act for a stranger.
            force: also end the holds of others. The audit log names them and the caller.

        Raises:
            NotRegistered, AlreadyClaimed, FileHeld: nothing changed.
            RegistryUnavailable: the file may still be registered, and be deleted. Repeat it; NotRegistered then means
                that it was unregistered.
            CompressionUnavailable, OSError: it could not be decompressed and is still registered.
        """
        absolute, own = normalise(path), own_name()
        others = (
            [keeper.name for keeper in self.registry.keepers(absolute) if keeper.name != own] if force else []
        )
        self._registrar.unregister(absolute, with_held=with_held, name="" if force else own)
        for name in others:
            self.cleaner.deleter.audit_unheld(absolute, name, by=own)

    def revive(self, path: StrPath) -> None:
        """
        Take a file out of the dead-letter set; it expires at once.

        Raises:
            NotRegistered: the file is not a dead letter; nothing changed.
        """
        absolute = normalise(path)
        if self.registry.revive([absolute])[absolute] == "absent":
            raise NotRegistered.as_dead_letter(absolute)

    def restore(self, path: StrPath) -> None:
        """
        Move a file from the quarantine (TEMP_FILE_QUARANTINE) back to its path, never over another file. It is no
        longer registered, and it is decompressed if it was compressed.

        Only the disk decides. So this works also if Redis has lost its records or does not answer; then a warning is
        logged.

        Raises:
            FileMissing: no file from that path is in quarantine; its time there may be over.
            UnsafePath: the name is taken; the file stays in quarantine.
        """
        restore(self.local_volume, normalise(path))

    # -- read

    def open(
        self, path: StrPath, mode: str = "rb", encoding: str | None = None, errors: str | None = None
    ) -> IO[Any]:
        """
        Open a file for reading, compressed or not; it is seekable. Compressing or deleting the file meanwhile does not
        affect the open file. Uses the disk only, never Redis.

        Args:
            mode: "rb" or "r". To write, ``decompress`` the file and open it as any other file.

        Raises:
            FileMissing, UnsafePath: there is no such file; or it is outside the roots, or not a regular file.
            CompressionUnavailable: it is compressed, and the library is not installed.
            OSError: as ``open``; reading raises EIO if the compressed form is damaged.
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError(
                f"manager.open supports the modes 'r' and 'rb', not {mode!r}; to write, decompress the file first"
            )
        content = open_content(normalise(path), self.roots)
        return content if mode == "rb" else io.TextIOWrapper(content, encoding=encoding, errors=errors)

    def compress_idle(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[CompressionReport], None] | None = None,
    ) -> CompressionReport:
        """
        Compress the files that may be compressed and were idle for TEMP_FILE_COMPRESS_AFTER. A worker does this by
        itself. Raises as ``Compressor.compress_idle``.
        """
        return self.compressor.compress_idle(budget_seconds=budget_seconds, stop=stop, progress=progress)

    def decompress(self, path: StrPath) -> bool:
        """
        Decompress a file in place; returns False if it is not compressed. Its idle time starts again.

        Raises:
            FileMissing, AlreadyClaimed, UnsafePath, CompressionUnavailable, OSError: as ``Compressor.decompress``; the
                file is unchanged.
        """
        return self.compressor.decompress(normalise(path))

    @property
    def files(self) -> Files:
        """Path -> registration time, live; see Files. Assigning drops the records of files that do not exist."""
        return Files(self.registry, self.cleaner, self._register_aged, self.unregister)

    @files.setter
    def files(self, wanted: Mapping[str, object]) -> None:
        self.files.keep_only(wanted)

    def get_file_age(self, file_path: StrPath) -> float | None:
        """Returns the seconds since the file was registered (Redis clock); None if it is not registered."""
        now_ms, (record,) = self.registry.read([normalise(file_path)])
        return None if record is None else max(now_ms - record.registered_ms, 0) / 1000

    def is_temp_file(self, file_path: StrPath) -> bool:
        """Whether the path is registered. Does not check whether the file exists."""
        return self.get_record(file_path) is not None

    def get_record(self, path: StrPath) -> FileRecord | None:
        """Returns the record of a path."""
        return self.registry.read([normalise(path)])[1][0]

    def get_records(self, paths: Sequence[StrPath]) -> list[FileRecord | None]:
        """Returns the record of each path, in order: one round trip per thousand paths."""
        return self.registry.read([normalise(path) for path in paths])[1]

    def records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """All records, or those in *state*, page by page. A path may come twice while other processes clean up."""
        return self.registry.all_records(state=state)

    def files_due_within(self, seconds: float, *, limit: int = 1000) -> list[FileRecord]:
        """Up to *limit* files that have expired or expire in the next *seconds*, the earliest first."""
        return self.registry.due_within(within_ms=round(seconds * 1000), limit=limit)

    def near_expiry(self, fraction: float = NEAR_EXPIRY, *, limit: int = 1000) -> list[FileRecord]:
        """
        Up to *limit* files that have expired or spent more than *fraction* of their own time to live (the
        specification's "about to expire"), the earliest first. Held files do not expire.

        Raises:
            ValueError: *fraction* is not from 0 to 1.

        Reads files in the order of their deadlines until it has enough. This is cheap if most files live equally long,
        and never reads more than each waiting file once.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be from 0 to 1, not {fraction!r}")
        return self.registry.near_expiry(fraction=fraction, limit=limit)

    def explain(self, path: StrPath) -> Explanation:
        """Explain the record of *path*, and what would happen to the file if it expired now. Changes nothing."""
        absolute = normalise(path)
        quarantined = [file for file in self.quarantined() if file.path == absolute]
        now_ms, (record, *others) = self.registry.read([absolute, *(file.aside_path for file in quarantined)])
        outlook = self.cleaner.clock.outlook()
        preview = None if record is None else self._preview_one(record, now_ms, outlook)
        keepers = self.registry.keepers(absolute) if record is not None and record.keepers else []
        if record is not None:
            problems = keeping(self.registry, self.settings)
        else:
            problems = registered_elsewhere(self.registry, self.settings, absolute)
        now_ms -= outlook.later_ms
        is_paused = bool(outlook.pause)
        return Explanation(
            absolute, now_ms, record, preview, quarantined, others, keepers, is_paused, problems
        )

    def quarantined(self) -> list[QuarantinedFile]:
        """The files that can be restored, read from the disk."""
        return list(self.cleaner.deleter.quarantined_files())

    # -- delete

    def cleanup(self, force: bool = False) -> int:
        """
        Delete the expired files of this volume, whoever registered them. Returns the number of files that this call
        deleted.

        With *force*, delete all files that were registered before this call, except held and quarantined files (see
        ``purge_quarantine``).

        A file that cannot be deleted keeps its record and is retried later. Raises as ``Cleaner.clean_due``.
        """
        return self.cleanup_report(force=force).deleted

    def clear_all(self) -> int:
        """The same as ``cleanup(force=True)``."""
        return self.cleanup(force=True)

    def cleanup_report(
        self,
        *,
        force: bool = False,
        tags: Sequence[str] = (),
        prefix: StrPath = "",
        progress: Callable[[CleanupReport], None] | None = None,
    ) -> CleanupReport:
        """
        As ``cleanup``; returns a full report.

        Args:
            tags: only files that have all of these.
            prefix: only this path and paths below it; with ``*`` at its end, all paths that begin with the text before
                it. It is relative to the working directory, as a path is.
        """
        if tags or prefix:
            wanted = partial(FileRecord.matches, tags=validate_tags(tags), prefix=normalise_prefix(prefix))
            cause = Cause.FORCED if force else Cause.EXPIRED
            return self.cleaner.clean_matching(wanted, cause, progress=progress)
        clean = self.cleaner.clean_all if force else self.cleaner.clean_due
        return clean(progress=progress)

    def cleanup_batch(
        self, *, force: bool = False, tags: Sequence[str] = (), prefix: StrPath = ""
    ) -> BatchResult:
        """As ``cleanup_report``; returns the result of each file."""
        results: list[FileResult] = []
        report = self.cleanup_report(
            force=force,
            tags=tags,
            prefix=prefix,
            progress=lambda so_far: results.extend(of_deletions(so_far.latest, so_far.latest_aside)),
        )
        return BatchResult(results, report.seconds)

    def purge_quarantine(
        self,
        *,
        tags: Sequence[str] = (),
        prefix: StrPath = "",
        progress: Callable[[CleanupReport], None] | None = None,
    ) -> CleanupReport:
        """
        Delete quarantined files now; none of them can be restored then. Files outside the quarantine stay as they are.

        Args:
            tags: only files that have all of these.
            prefix: as in ``cleanup_report``, for the original paths.
        """
        wanted = partial(_is_quarantined, tags=validate_tags(tags), prefix=normalise_prefix(prefix))
        return self.cleaner.clean_matching(wanted, Cause.PURGED, progress=progress)

    def preview(
        self, *, force: bool = False, tags: Sequence[str] = (), prefix: StrPath = "", quarantine: bool = False
    ) -> Iterator[Deletion]:
        """
        Preview ``cleanup_report``, or with *quarantine* ``purge_quarantine``: yields what it would do to each file now.
        Changes nothing. A file that would be quarantined has the outcome ``deleted`` and the reason ``quarantine``.
        """
        if quarantine:
            wanted = partial(_is_quarantined, tags=validate_tags(tags), prefix=normalise_prefix(prefix))
            return self.cleaner.preview(wanted, Cause.PURGED)
        wanted = partial(FileRecord.matches, tags=validate_tags(tags), prefix=normalise_prefix(prefix))
        return self.cleaner.preview(wanted, Cause.FORCED if force else Cause.EXPIRED)

    def evict(
        self, *, dry_run: bool = False, progress: Callable[[int], None] | None = None
    ) -> EvictionReport:
        """
        Delete files before they expire, if a file system of this volume is fuller than TEMP_FILE_EVICT_ABOVE (or, for
        files in memory, memory is fuller than TEMP_FILE_EVICT_MEMORY_ABOVE), until it is down to the low mark.

        Files are deleted in the order of TEMP_FILE_EVICTION_POLICY, without quarantine. Held files, files in use and
        unregistered files stay. Below the marks, or without marks, nothing happens. A worker does this by itself.

        Args:
            dry_run: change nothing; ``files`` of the report are the files that evicting would delete now.
            progress: called after each batch with the number of files deleted so far.

        Raises:
            VolumeUnavailable, RegistryUnavailable: files deleted until then stay deleted, and are accounted for.
        """
        return self.evictor.evict(dry_run=dry_run, names=True, progress=progress)

    # -- operate

    def stats(self) -> VolumeStats:
        """Counts, totals and histograms of the volume, at one instant."""
        return self.registry.stats()

    def examine(self) -> list[Finding]:
        """Diagnose this volume: what is wrong, and what to do. Reads every record, changes nothing; see doctor.py."""
        return list(diagnose(self.local_volume.unchecked_registry, self.settings))

    def health_check(self) -> dict[str, Any]:
        """Returns ``status`` (healthy, degraded, unhealthy) and the reasons; see health.py. It never raises."""
        health = health_check(self.local_volume.unchecked_registry, self.roots, self.settings)
        return health | {"max_age": self.max_age}

    def unregistered(
        self, *, idle: float | None = None, owner: str | int | None = None
    ) -> Iterator[list[UnregisteredFile]]:
        """
        The unregistered regular files in the base directory, in pages; see ``adopt``. Files that changed in the last
        *idle* seconds (``max_age`` if not given) are left out: a program may be about to register them.

        Args:
            owner: only files of this user: a name, a uid, or "any" for all. If not given, only files of the user that
                this process runs as. For root, only files of the base directory's owner.

        Raises:
            InvalidOwner: there is no such user.
        """
        self.local_volume.check()
        uid = uid_of(owner, self.roots)
        return self.local_volume.unregistered.pages(
            idle_seconds=self.max_age if idle is None else idle, uid=uid
        )

    def adopt(
        self,
        *,
        idle: float | None = None,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        owner: str | int | None = None,
    ) -> BatchResult:
        """
        Register every file that ``unregistered`` returns, for example after Redis lost its data. The files live for
        *ttl* seconds from now (``max_age`` if not given). A file that cannot be registered is an entry of the result.
        No other file is deleted to make room.
        """
        began = time.monotonic()
        pages = self.adopt_pages(idle=idle, ttl=ttl, tags=tags, owner=owner)
        return BatchResult([result for page in pages for result in page], time.monotonic() - began)

    def adopt_pages(
        self,
        *,
        idle: float | None = None,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        owner: str | int | None = None,
    ) -> Iterator[list[FileResult]]:
        """As ``adopt``; yields the results page by page, after each page is registered."""
        terms = Terms.of(self.max_age if ttl is None else ttl, tags, uid=uid_of(owner, self.roots))
        for page in self.unregistered(idle=idle, owner=owner):
            paths = [file.path for file in page]
            records, errors = self._registrar.register_many(paths, terms, make_room=False)
            yield of_records(records) + of_errors(errors)

    def adoptable_quarantine(self) -> list[QuarantinedFile]:
        """The quarantined files that ``adopt_quarantine`` would take over now; changes nothing."""
        return self.cleaner.interrupted_moves.adoptable()

    def adopt_quarantine(self) -> list[QuarantinedFile]:
        """
        Take over the quarantined files of registries with the same host, base directory and namespace, for example
        those of this one before Redis lost its data. Returns them. They go at the end that was set when they were
        quarantined. What dead processes of such a registry had begun to destroy is destroyed.
        """
        self.local_volume.check()
        return self.cleaner.interrupted_moves.adopt()

    def take_over(self, host: str, *, progress: Callable[[int], None] | None = None) -> Takeover:
        """
        Take over the records of *host* for this base directory, whose disk is here now, with their deadlines, holds and
        dead letters. For a host that does not come back; see takeover.py.

        Args:
            progress: called after each page with the number of records moved so far.

        Raises:
            UnknownHost, HostLive, VolumeUnavailable: nothing changed.
        """
        self.local_volume.check()
        fleet = Fleet(self.store, live_seconds=self.settings.host_live_seconds)
        return take_over(host, self.registry, self.roots, fleet, progress=progress)

    def forget_host(
        self, host: str, *, with_kept: bool = False, progress: Callable[[int], None] | None = None
    ) -> Forgetting:
        """
        Forget *host*, which does not come back: all its records, in all its volumes, and its entries. The files on its
        disk stay. If it is interrupted, repeat it. See forgetting.py.

        Args:
            with_kept: also records of held and quarantined files; otherwise these stay, and the host with them.
            progress: called after each step with the number of records forgotten so far.

        Raises:
            UnknownHost: nothing changed.
            HostLive: a worker of it is live, or it came back meanwhile; the message says what is forgotten.
        """
        fleet = Fleet(self.store, live_seconds=self.settings.host_live_seconds)
        return forget(fleet, host, with_kept=with_kept, progress=progress or _ignore)

    def accept_disk(self) -> list[str]:
        """
        Accept the current disk for this base directory and for the other roots, although records were made on another
        disk (see disk_identity.py). Records of files that are not here are dropped when they expire.

        Returns the other roots that were another directory before.
        """
        registry = self.registry
        disks, changed = accepted_roots(registry.stats().meta.get(DISKS, ""), self.roots)
        registry.set_meta(DISK, disk_identity_of(self.roots))
        registry.set_meta(DISKS, disks)
        registry.disks.compare(disks)
        return changed

    def accept_clock(self) -> float:
        """
        Accept Redis's clock as it is now, although it jumped ahead (see clock_watch.py). Deadlines pass at once where
        they waited for the clock, in all volumes of this Redis. Returns how much later they passed (seconds).
        """
        return FleetClock(self.store).accept(Fleet(self.store).volumes()) / 1000

    def verify_unverified(self) -> int:
        """
        Verify the files that were registered for this host while it was silent; see unverified.py. Returns the number
        of existing files.
        """
        recover = self.cleaner.recover_interrupted
        return verify_unverified(self.registry, self.roots, self.settings, recover)

    # -- the life of the manager

    def __enter__(self) -> TempFileManager:
        if self._registrar.in_block is not None:
            raise RuntimeError(
                "this manager is already in a with block; create another manager for the same directory"
            )
        self._registrar.in_block = OwnFiles()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Delete the files that this object registered since ``with`` began, and nothing else. A file that another
        registrant registered, renewed or held stays until its deadline. A forked child that leaves its parent's block
        deletes the files that the child itself registered. It raises nothing: if Redis or the disk does not answer,
        that is logged, and the files are deleted when they expire.
        """
        own, self._registrar.in_block = self._registrar.in_block, None
        if own is not None:
            or_when_it_expires(lambda: self._delete_own(own), f"What was registered in {self.base_dir}")

    def close(self) -> None:
        """
        Close connections and directories; the files stay registered. Every later call raises ManagerClosed. A clean-up
        of another thread stops after the file at hand, hands the rest back, and raises it too.
        """
        self.local_volume.close(self._disconnect)

    def __getstate__(self) -> dict[str, Any]:
        if self._own_client is not None:
            raise TypeError("a manager with its own client cannot be pickled; give it a redis_url instead")
        return {
            "settings": self.settings,
            "max_age": self.max_age,
            "clock": self._clock,
            "host_clock": self._host_clock,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self.max_age = state["settings"], state["max_age"]
        self._clock, self._host_clock = state["clock"], state["host_clock"]
        self.lock = threading.Lock()
        self._own_client = None
        self._connect()

    def __repr__(self) -> str:
        return f"TempFileManager({self.base_dir!r}, max_age={self.max_age!r}, host={self.settings.host!r})"

    @property
    def base_dir(self) -> str:
        return self.settings.base_dir

    # -- the engines, for our own programs

    @property
    def registry(self) -> Registry:
        """
        The records of the volume.

        Raises:
            EvictingRedis: this Redis may evict records, so no record is written to it.
        """
        return self.local_volume.registry

    @property
    def cleaner(self) -> Cleaner:
        """Deletes expired files; raises as ``registry`` does."""
        return self.local_volume.cleaner

    @property
    def evictor(self) -> Evictor:
        """Evicts files from a full disk; raises as ``registry`` does."""
        return self.local_volume.evictor

    @property
    def compressor(self) -> Compressor:
        """Compresses idle files, and decompresses them; raises as ``registry`` does."""
        return self.local_volume.compressor

    # -- inside

    def _connect(self) -> None:
        check_place(self.settings.audit_log)
        roots = Roots.open(self.settings)
        client = client_of(self.settings, self._own_client)
        store = Store(client, namespace=self.settings.namespace, clock=self._clock)
        self.local_volume = local = LocalVolume(self.settings, roots, store, host_clock=self._host_clock)
        self.volume, self.roots, self.store = local.volume, roots, store
        self._registrar = Registrar(local)
        self._creator = Creator(local, self._registrar)
        if self.settings.clear_on_shutdown:
            place = Place(self.settings.of_a_tool(), self._own_client, self._clock, self._host_clock)
            self._registrar.until_exit = watch(self, place)

    def _disconnect(self) -> None:
        self.store.close(with_connections=self.store.client is not self._own_client)

    def _clean_first(self) -> None:
        """Delete the expired files. A start does not fail, because the next clean-up does the same."""
        try:
            self.cleanup()
        except TempfleetError as exc:
            logger.warning("The clean-up at the start failed: %s", exc)

    def _delete_own(self, own: OwnFiles) -> None:
        if files := own.take():
            self.cleaner.clean_own(files, Cause.FORCED)

    def _register_aged(self, path: str, age_seconds: float) -> None:
        self.register_inspected(self.inspect(path, age_seconds=age_seconds))

    def _preview_one(self, record: FileRecord, now_ms: int, outlook: Outlook) -> Deletion:
        try:
            self.cleaner.check_volume(fresh=True)
        except VolumeUnavailable as exc:
            return Deletion(record, Outcome.UNAVAILABLE, reason=exc.reason)
        return self.cleaner.previews.expired(record, now_ms, outlook)


def _ignore(_done: int) -> None:
    """A progress that nobody watches."""


def _is_quarantined(record: FileRecord, *, tags: Sequence[str], prefix: str) -> bool:
    """Whether a file is in quarantine, and matches by its original path."""
    return (
        record.is_quarantined
        and record.matches(tags=tags)
        and (not prefix or has_prefix(origin_of(record.path) or record.path, prefix))
    )
