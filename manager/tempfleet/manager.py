"""
TempFileManager: what users hold. Each method is a thin line from a caller's path to one move of the registry.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from types import TracebackType
from typing import IO, Any

import redis

from .cleanup import Cleaner
from .compression import CompressionReport, Compressor
from .created import TempDirectory, TempFile
from .deletion import (
    Aside,
    Roots,
    create_directory,
    create_file,
    inspect,
    new_name,
    normalise,
    open_content,
    unmake,
)
from .descent import EvictionReport
from .doctor import Finding, examine
from .embedded import connect_url
from .ending import at_end
from .errors import (
    AlreadyClaimed,
    BatchError,
    FileMissing,
    NotRegistered,
    QuotaExceeded,
    TempfleetError,
    UnsafePath,
)
from .eviction import Evictor
from .explanation import Explanation
from .files import Files
from .health import health_check
from .keys import Volume
from .limits import Admission, check_size, refusal
from .logs import logger, printable
from .moves import Registration
from .plugins import installed
from .policies import Order, eviction_policies, eviction_policy, hold_reason, ttl_ms
from .records import NEAR_EXPIRY, Deletion, FileRecord, Flag, NewFile, Outcome, State
from .registry import Registry
from .report import CleanupReport
from .results import REFUSED, BatchResult, FileResult, of_deletions, of_record
from .settings import Settings
from .stats import VolumeStats
from .store import Clock, Store, connect, server_clock
from .unseen import verify_unseen

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

DIRECTORY_MODE = 0o700


class TempFileManager:
    """
    The temporary files of one base directory on one host.

    Any number of managers, threads and processes may name the same base directory; they share one registry. Two
    base directories never see each other's files. A manager survives a fork and can be pickled; the copy connects
    anew.

    Args:
        base_dir: where created files go; made with mode 0700 if it is not there.
        max_age: seconds that a file lives, unless its own ``ttl`` is given.
        settings: instead of the environment's; the other arguments go before it.
        client: a Redis client to use instead of connecting to the settings' URL; such a manager cannot be pickled.

    Raises:
        OSError: the base directory cannot be created.
        InvalidTTL: a *max_age* that is no time to live.
        SettingsError: a setting, or a root, that cannot be.

    Redis is first asked at the first call that needs it; any such call may raise a RegistryError.
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
    ) -> None:
        if max_age is not None:
            ttl_ms(max_age)
        given = {"max_age_seconds": max_age, "host": host, "redis_url": redis_url}
        directory = None if base_dir is None else os.fsdecode(base_dir)
        self.settings = Settings.load(settings, base_dir=directory, **given)
        self.max_age: float = self.settings.max_age_seconds if max_age is None else max_age
        self.lock = Lock()  # for callers who want one; nothing here ever takes it
        self._given_client = client
        self._clock = clock
        self._connect()
        if self.settings.cleanup_on_start:
            self._clean_first()

    def _connect(self) -> None:
        self._policy_checked = False
        self._own: dict[str, int] | None = None  # path -> the process that registered it, in a with block
        self._mine: dict[str, int] | None = None  # the same, for who clears on shutdown
        if self.settings.clear_on_shutdown:
            self._mine = {}
            at_end(self, TempFileManager._clear_mine)
        self.roots = Roots.open(self.settings)
        client = self._given_client or connect(connect_url(self.settings.redis_url))
        self.store = Store(client, namespace=self.settings.namespace, clock=self._clock)
        self.volume = Volume(self.settings.host, self.roots.base.path)
        self._registry = Registry(self.store, self.volume, disk=self.roots.base_identity())
        self._cleaner = Cleaner(self._registry, self.roots, self.settings, installed(self.settings))
        self._order = self._chosen_order()
        self._admission = Admission(self._registry, self._cleaner, self._order, self.settings)
        self._evictor = self.evictor_for(self._cleaner)
        self._compressor = Compressor(self._registry, self.roots, self.settings)

    @property
    def base_dir(self) -> str:
        return self.settings.base_dir

    @property
    def registry(self) -> Registry:
        """
        The registry behind this manager, checked at its first use.

        Raises:
            EvictingRedis: this Redis may evict records, so nothing is entrusted to it.
        """
        self._check_policy()
        return self._registry

    @property
    def cleaner(self) -> Cleaner:
        """The engine behind this manager; raises as ``registry`` does."""
        self._check_policy()
        return self._cleaner

    @property
    def admission(self) -> Admission:
        """What registers within the limits; raises as ``registry`` does."""
        self._check_policy()
        return self._admission

    @property
    def evictor(self) -> Evictor:
        """What makes room on a disk that is too full; raises as ``registry`` does."""
        self._check_policy()
        return self._evictor

    @property
    def compressor(self) -> Compressor:
        """What compresses idle files, and undoes it; raises as ``registry`` does."""
        self._check_policy()
        return self._compressor

    # -- create and register

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
    ) -> TempFile:
        """
        Make an empty file, registered *before* it exists, so that a crash in between leaks nothing.

        It has an unguessable name, the permissions of the settings' mask, and is open for writing. Used in a
        ``with`` statement it is deleted at the end; otherwise it lives for *ttl* seconds (``max_age`` unless given).
        *compress* is as in ``register``; once compressed, the file is known by its identity and not by its name alone.

        Raises:
            OSError: the file could not be made; its registration was taken back.
        """
        flags = Flag.CREATED + (Flag.MAY_COMPRESS if compress else "")
        new = self._new(prefix, suffix, ttl, tags, flags=flags)

        def opener(path: str, flags: int) -> int:
            return create_file(self.roots, os.path.basename(path), mode=self.settings.permission_mask)

        return TempFile(
            register=partial(self.register_inspected, new),
            make=lambda name: open(new.path, mode, encoding=encoding, opener=opener),
            unmake=self._unmake,
            delete=self._delete_made,
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

        Rights beyond TEMP_FILE_PERMISSION_MASK (0600) are taken away from the file, and ``release`` does not give them
        back: a file that others must read needs a wider mask.

        Registering a waiting file again: the later deadline wins, its age restarts. Another file under a known name
        replaces the record.

        With *compress* the file may be compressed in place once it was idle for TEMP_FILE_COMPRESS_AFTER; whoever
        reads it uses ``open`` of the manager.

        Raises:
            FileMissing, UnsafePath: nothing was registered; the error says why.
            AlreadyClaimed: exactly this file is being deleted now.
            QuotaExceeded: it is too large, or a limit is reached; the file stays its caller's.
            InvalidTTL: not a number of seconds above zero, at most 366 days.
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
    ) -> list[FileRecord]:
        """
        Register files in batches: one round trip for each thousand. *confined* is as in ``inspect``, *compress* as in
        ``register``.

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
        for registration in self._register(files):
            try:
                records.append(self._accepted(registration))
            except (AlreadyClaimed, QuotaExceeded) as exc:
                errors[registration.file.path] = exc
        if errors:
            raise BatchError(records=records, errors=errors)
        return records

    def register_batch(
        self, paths: Sequence[StrPath], *, ttl: float | None = None, tags: Sequence[str] = ()
    ) -> BatchResult:
        """As ``register_many``; a file that cannot be registered is a line of the result, and no error."""
        began = time.monotonic()
        records: Sequence[FileRecord] = ()
        errors: Mapping[str, TempfleetError] = {}
        try:
            records = self.register_many(paths, ttl=ttl, tags=tags)
        except BatchError as exc:
            records, errors = exc.records, exc.errors
        results = [of_record(record) for record in records] + [
            FileResult(
                path,
                Outcome.MISSING.value if isinstance(exc, FileMissing) else REFUSED,
                str(exc),
            )
            for path, exc in errors.items()
        ]
        return BatchResult(results, time.monotonic() - began)

    def get_records(self, paths: Sequence[StrPath]) -> list[FileRecord | None]:
        """All that the registry knows of each path, in their order: one round trip for each thousand."""
        return self.registry.look([normalise(path) for path in paths])[1]

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
        found = inspect(
            normalise(path),
            self.roots,
            ttl_ms=ttl_ms(self.max_age if ttl is None else ttl),
            tags=_words(tags),
            directory=directory,
            confined=confined,
            age_ms=round(age_seconds * 1000),
        )
        return check_size(
            replace(found, flags=found.flags + Flag.MAY_COMPRESS) if compress else found, self.settings
        )

    def register_inspected(self, file: NewFile) -> FileRecord:
        """Register what ``inspect`` found."""
        (registration,) = self._register([file])
        return self._accepted(registration)

    # -- keep, or let go

    def renew(self, path: StrPath, *, ttl: float | None = None) -> float:
        """
        Move a file's deadline to *ttl* seconds from now, never earlier; returns the deadline (seconds, Redis clock).

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
        """
        life = ttl_ms(self.max_age if ttl is None else ttl)
        return self.registry.renew(normalise(path), ttl_ms=life) / 1000

    def hold(self, path: StrPath, seconds: float | None = None, *, reason: str = "") -> None:
        """
        Keep a file for *seconds* whatever its deadline; for ever, without. Holding it again sets both anew.

        Args:
            reason: for the people who find it held; shown by ``tempfleet ls`` and ``explain``.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            ReasonTooLong: it has more than 500 characters; nothing changed.
        """
        hold_ms = None if seconds is None else ttl_ms(seconds)
        self.registry.hold(normalise(path), hold_ms=hold_ms, reason=hold_reason(reason))

    def lift(self, path: StrPath) -> bool:
        """End a hold; False when there was none. The file falls due at its own deadline again."""
        return self.registry.lift(normalise(path))

    def release(self, path: StrPath) -> None:
        """
        Take a file out of management: it is its user's again, as it was; what was compressed is decompressed before.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            CompressionUnavailable, OSError: it could not be decompressed and is still registered.
        """
        absolute = normalise(path)
        code = self.registry.release([absolute])[absolute]
        if code == "compressed":
            self._decompress_if_there(absolute)
            code = self.registry.release([absolute])[absolute]
        if code == "absent":
            raise NotRegistered(
                f"{printable(absolute)} is not registered {self.volume.in_words}.", path=absolute
            )
        if code in ("claimed", "compressed"):
            raise AlreadyClaimed(
                f"{printable(absolute)} is being deleted or compressed at this moment.", path=absolute
            )

    def revive(self, path: StrPath) -> None:
        """
        Bring a dead letter back, due at once.

        Raises:
            NotRegistered: the file is no dead letter; nothing changed.
        """
        absolute = normalise(path)
        if self.registry.revive([absolute])[absolute] == "absent":
            raise NotRegistered(f"{printable(absolute)} is no dead letter.", path=absolute)

    # -- read, compress

    def open(
        self, path: StrPath, mode: str = "rb", encoding: str | None = None, errors: str | None = None
    ) -> IO[Any]:
        """
        Open a file to read what was written into it, compressed or not; it can be sought in. Whoever compresses it,
        or deletes it, meanwhile does not disturb a file that is open. Asks the disk alone, never Redis.

        Args:
            mode: "rb" or "r"; to write, ``decompress`` the file and open it as any other.

        Raises:
            FileMissing, UnsafePath: nothing has that name; it is outside the roots, or no regular file.
            CompressionUnavailable: it is compressed, and this process has not got the library.
            OSError: as ``open``; EIO at reading where the compressed form is damaged.
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError(
                f"manager.open reads, in mode 'r' or 'rb', not {mode!r}; to write, decompress the file first"
            )
        content = open_content(normalise(path), self.roots)
        return content if mode == "rb" else io.TextIOWrapper(content, encoding=encoding, errors=errors)

    def compress_idle(
        self, *, budget_seconds: float | None = None, stop: threading.Event | None = None
    ) -> CompressionReport:
        """
        Compress the files that were idle for TEMP_FILE_COMPRESS_AFTER and may be compressed. A worker does this by
        itself. Raises as ``Compressor.compress_idle``.
        """
        return self.compressor.compress_idle(budget_seconds=budget_seconds, stop=stop)

    def decompress(self, path: StrPath) -> bool:
        """
        Give a compressed file its plain form back; False if it has that. Its idle time begins anew.

        Raises:
            FileMissing, AlreadyClaimed, UnsafePath, CompressionUnavailable, OSError: see ``Compressor.decompress``;
                the file is as it was.
        """
        return self.compressor.decompress(normalise(path))

    # -- delete

    def cleanup(self, force: bool = False) -> int:
        """
        Delete what is due in this volume, whoever registered it; with *force* everything that was registered before
        this call, held files excepted. Returns how many files this call removed.

        A file that cannot be deleted keeps its record and is tried again later. Raises as ``Cleaner.clean_due``.
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
        prefix: str = "",
        progress: Callable[[CleanupReport], None] | None = None,
    ) -> CleanupReport:
        """
        As ``cleanup``; returns all that is known of what it did.

        Args:
            tags: only files that have all of these.
            prefix: only paths that begin so.
        """
        if tags or prefix:
            wanted = partial(FileRecord.matches, tags=_words(tags), prefix=prefix)
            return self.cleaner.clean_matching(wanted, force=force, progress=progress)
        clean = self.cleaner.clean_all if force else self.cleaner.clean_due
        return clean(progress=progress)

    def cleanup_batch(
        self, *, force: bool = False, tags: Sequence[str] = (), prefix: str = ""
    ) -> BatchResult:
        """As ``cleanup_report``; returns what became of each file."""
        found: list[FileResult] = []
        report = self.cleanup_report(
            force=force,
            tags=tags,
            prefix=prefix,
            progress=lambda so_far: found.extend(of_deletions(so_far.latest, so_far.latest_aside)),
        )
        return BatchResult(found, report.seconds)

    def evict(self, *, dry_run: bool = False) -> EvictionReport:
        """
        Delete files before their time, if a file system of this volume is fuller than TEMP_FILE_EVICT_ABOVE (or memory
        than TEMP_FILE_EVICT_MEMORY_ABOVE, for what lies in it), until it is down to the low mark.

        They go in the order of TEMP_FILE_EVICTION_POLICY, without a grace period; what is held, in use or not
        registered stays. Below the marks, and without any, nothing happens. Workers do this by themselves.

        Args:
            dry_run: change nothing; the report's ``files`` are those that evicting would delete now.

        Raises:
            VolumeUnavailable, RegistryUnavailable: what was deleted by then stays deleted, and is accounted for.
        """
        return self.evictor.evict(dry_run=dry_run, names=True)

    def preview(self, *, force: bool = False) -> Iterator[Deletion]:
        """What ``cleanup`` would do now, file by file; changes nothing."""
        return self.cleaner.preview(force=force)

    def restore(self, path: StrPath) -> None:
        """
        Bring a file back from the quarantine (TEMP_FILE_QUARANTINE), never over another one; it is its user's again,
        and what was compressed is decompressed.

        The disk alone decides, so this works as long as the file is there, also when Redis was lost.

        Raises:
            FileMissing: nothing from that path is in quarantine; the grace period may be over.
            UnsafePath: the name is taken; the file stays in quarantine.
        """
        aside = self.cleaner.deleter.restore(normalise(path))
        self.registry.release([aside.aside_path])
        self.registry.count("restored")
        self._decompress_if_there(aside.path)
        logger.info("Restored temporary file: %s", printable(aside.path))

    def quarantined(self) -> list[Aside]:
        """The files that can be restored, as the disk tells it."""
        return list(self.cleaner.deleter.all_aside())

    def explain(self, path: StrPath) -> Explanation:
        """What is known of *path*, and what would happen to it if it were due now; changes nothing."""
        absolute = normalise(path)
        now_ms, (record,) = self.registry.look([absolute])
        verdict = None if record is None else self.cleaner.examine(record)
        aside = [one for one in self.quarantined() if one.path == absolute]
        return Explanation(absolute, now_ms, record, verdict, aside)

    def accept_disk(self) -> None:
        """
        Say that the base directory is the right one, after the registry was found to have files on another disk (see
        disk.py). Records of files that are not here are dropped at their deadlines.
        """
        self.registry.bind(self.roots.base_identity())

    def cleaner_for(self, base_dir: str) -> Cleaner:
        """
        The engine for another base directory of this host, with our roots and settings.

        Raises:
            VolumeUnavailable: the directory is not there; it is not made.
        """
        # The roots of messages stay ours: another base directory is not opened to strangers by being cleaned here.
        given = {"base_dir": base_dir, "message_roots": self.settings.confined_roots}
        settings = self.settings.model_copy(update=given)
        roots = Roots.open(settings, create=False)
        registry = Registry(self.store, Volume(settings.host, roots.base.path))
        return Cleaner(registry, roots, settings, installed(settings))

    def evictor_for(self, cleaner: Cleaner) -> Evictor:
        """What makes room for another engine of this host, by our policy."""
        return Evictor(cleaner, self._order)

    def verify_unseen(self) -> int:
        """
        Look at the files that were recorded for this host while it was silent; how many are there. See unseen.py.
        """
        return verify_unseen(self.registry, self.roots, self.settings)

    # -- ask

    def get_file_age(self, file_path: StrPath) -> float | None:
        """Seconds since the file was registered, by the Redis clock; None if it is not."""
        now_ms, (record,) = self.registry.look([normalise(file_path)])
        return None if record is None else max(now_ms - record.registered_ms, 0) / 1000

    def is_temp_file(self, file_path: StrPath) -> bool:
        """Whether the path is registered; whether the file exists is not looked at."""
        return self.get_record(file_path) is not None

    def get_record(self, path: StrPath) -> FileRecord | None:
        """All that the registry knows of a path."""
        return self.registry.look([normalise(path)])[1][0]

    def records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """Every record, page by page, of one state if given; a path may come twice while others clean."""
        return self.registry.all_records(state=state)

    def files_due_within(self, seconds: float, *, limit: int = 1000) -> list[FileRecord]:
        """Up to *limit* files that fall due in the next *seconds*, or are due already, the soonest first."""
        return self.registry.due_within(within_ms=round(seconds * 1000), limit=limit)

    def near_expiry(self, fraction: float = NEAR_EXPIRY, *, limit: int = 1000) -> list[FileRecord]:
        """
        Up to *limit* files that have spent more than *fraction* of their lives (the specification's "about to expire"),
        or are due already, the soonest first. Each by its own time to live; what is held does not expire.

        Raises:
            ValueError: *fraction* is not from 0 to 1.

        Looks at files in the order of their deadlines until there are enough: cheap where most live equally long, and
        no more than one look at each file that waits.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction of a life is from 0 to 1, not {fraction!r}")
        return self.registry.near_expiry(fraction=fraction, limit=limit)

    @property
    def files(self) -> Files:
        """path -> registration time, live; see Files. Assigning drops records of files that are not there."""
        return Files(self.registry, self._register_aged, self.release)

    @files.setter
    def files(self, wanted: Mapping[str, object]) -> None:
        self.files.keep_only(wanted)

    def stats(self) -> VolumeStats:
        """Counts, totals and histograms of the volume, at one instant."""
        return self.registry.stats()

    def examine(self) -> list[Finding]:
        """What may be wrong here, and what to do about it; see doctor.py. Looks at every record, changes nothing."""
        return list(examine(self._registry, self.settings))

    def health_check(self) -> dict[str, Any]:
        """``status`` (healthy, degraded, unhealthy) and why; see health.py. Raises nothing of its own."""
        return health_check(self._registry, self.roots, self.settings) | {"max_age": self.max_age}

    # -- the manager's own life

    def __enter__(self) -> TempFileManager:
        if self._own is not None:
            raise RuntimeError(
                "this manager is in a with block already; make another one of the same directory"
            )
        self._own = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Delete what this object registered since ``with`` began, and nothing else. A forked child that leaves its
        parent's block deletes what the child itself has registered.
        """
        own, self._own = self._own or {}, None
        self._delete_own(own)

    def close(self) -> None:
        """Give back connections and directories; the files stay registered."""
        if self._given_client is None:
            self.store.client.close()
        self.roots.close()

    def __getstate__(self) -> dict[str, Any]:
        if self._given_client is not None:
            raise TypeError(
                "a manager with a client of its own cannot be pickled; give it a redis_url instead"
            )
        return {"settings": self.settings, "max_age": self.max_age, "clock": self._clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self.max_age, self._clock = state["settings"], state["max_age"], state["clock"]
        self.lock = Lock()
        self._given_client = None
        self._connect()

    def __repr__(self) -> str:
        return f"TempFileManager({self.base_dir!r}, max_age={self.max_age!r}, host={self.settings.host!r})"

    # -- inside

    def _chosen_order(self) -> Order:
        """A plug-in is asked only for a name that is not ours, so none can take one of ours."""
        name, known = self.settings.eviction_policy, eviction_policies()
        if name not in known:
            known = self._cleaner.hooks.eviction_policies() | known
        return eviction_policy(name, known)

    def _decompress_if_there(self, path: str) -> None:
        try:
            self.compressor.decompress(path)
        except FileMissing:
            pass  # nothing is left to be read by anybody

    def _clean_first(self) -> None:
        """What is due; a start does not fail for what the next clean-up will do."""
        try:
            self.cleanup()
        except TempfleetError as exc:
            logger.warning("Nothing was cleaned at the start: %s", exc)

    def _clear_mine(self) -> None:
        """Delete what this process registered here; an end does not fail for what a deadline will do."""
        mine, self._mine = self._mine or {}, {}
        try:
            self._delete_own(mine)
        except (TempfleetError, OSError) as exc:
            logger.warning("Not everything was cleared at the end: %s", exc)

    def _delete_own(self, own: Mapping[str, int]) -> None:
        paths = [path for path, process in own.items() if process == os.getpid()]
        if paths:
            self.cleaner.clean_paths([paths], until_ms=self.registry.now_ms())

    def _check_policy(self) -> None:
        if not self._policy_checked:
            self.store.check_policy()
            self._policy_checked = True

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
            tags=_words(tags),
        )

    def _unmake(self, record: FileRecord) -> None:
        unmake(self.roots, os.path.basename(record.path))
        self.registry.release([record.path], total="missing")

    def _delete_made(self, record: FileRecord) -> None:
        self.cleaner.clean_paths([[record.path]], until_ms=self.registry.now_ms(), made=True)

    def _register(self, files: Sequence[NewFile]) -> list[Registration]:
        registrations, own = self.admission.register(files), self._own
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
            raise AlreadyClaimed(f"{printable(path)} is being deleted at this moment.", path=path)
        if refused := refusal(registration, self.settings):
            raise refused
        return registration.record


def _words(tags: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise TypeError(f"tags is a list of words: [{tags!r}]")
    return tuple(tags)


def _shown(path: StrPath) -> str:
    return printable(os.path.abspath(os.fsdecode(path)))
