"""
Compress the files that were not used for long (``TEMP_FILE_COMPRESS_AFTER``), and decompress them.

Which files: those registered with ``compress=True``, or all of a volume (``TEMP_FILE_COMPRESSION``). Their readers use
``manager.open``, which reads both forms. Held, expired, retried and quarantined files are left alone.
deletion/exchange.py says how a file changes its form while other processes delete, renew and read it.

A pass reads the registry page by page, and the next pass continues where it stopped. So a large volume costs little at
a time.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from ..deletion import Agreement, NewForm, Session, Skip, Unchanged, recover
from ..errors import AlreadyClaimed, FileMissing, TempfleetError, VolumeUnavailable
from ..filesystem import Root, Roots, name_of, unsafe
from ..logs import logger, printable
from ..records import FileRecord, Flag, State
from ..registry import Registry
from ..settings import Settings
from .agreement import NoAgreement, RecordAgreement
from .candidates import candidates
from .transform import IdleRule, check_idle, compress, decompress, is_settled, settled_form

COMPRESSED, DECOMPRESSED = "compressed", "decompressed"


@dataclass(slots=True)
class CompressionReport:
    """
    What one pass did.

    Attributes:
        saved_bytes: what the disk got back.
        kept: the number of files that were tried and stay as they are, by the reason in one word.
        finished: False if the budget or a stop ended the pass; the next one continues there.
    """

    compressed: int = 0
    saved_bytes: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    finished: bool = True

    def as_dict(self) -> dict[str, object]:
        return {
            "compressed": self.compressed,
            "saved_bytes": self.saved_bytes,
            "kept": dict(sorted(self.kept.items())),
            "seconds": round(self.seconds, 3),
            "finished": self.finished,
        }


class Compressor:
    """Compresses and decompresses the files of one volume. Thread-safe; concurrent passes try the same files."""

    def __init__(self, registry: Registry, roots: Roots, settings: Settings) -> None:
        self.registry = registry
        self.roots = roots
        self.settings = settings
        self.rule = IdleRule(settings.compress_after_seconds, settings.compress_min_bytes)
        # Passes to continue. Their pop and append are atomic.
        self._interrupted: list[Iterator[FileRecord | None]] = []
        self._without_exchange: set[str] = set()

    def compress_idle(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[CompressionReport], None] | None = None,
    ) -> CompressionReport:
        """
        Compress idle files until all were tried, the budget ends or *stop* is set. One bad file never stops the others:
        it stays as it is, and the report contains the reason.

        Args:
            progress: called after each file.

        Raises:
            RegistryError: Redis went away. Each file is whole, compressed or not, and its record accepts it.
            CompressionUnavailable: the library is not installed.
        """
        began = time.monotonic()
        report = CompressionReport()
        stop = stop or threading.Event()

        def may_start() -> bool:
            return not stop.is_set() and (budget_seconds is None or time.monotonic() < began + budget_seconds)

        def step() -> None:
            if stop.is_set() or self.roots.is_closed:
                raise Unchanged(Skip.STOPPED)

        if self.settings.compress_after_seconds:
            recover(self.roots)
            for record in self._candidates(may_start, report):
                self._try(record, report, step)
                if progress is not None:
                    progress(report)
        report.seconds = time.monotonic() - began
        if report.compressed:
            counts = report.compressed, report.saved_bytes, report.seconds
            logger.info("Compressed %d temporary files, %d bytes saved, in %.2f s", *counts)
        return report

    def preview(self) -> Iterator[FileRecord]:
        """Yields the files that ``compress_idle`` would compress now; changes nothing."""
        if not self.settings.compress_after_seconds:
            return
        for record in candidates(self.registry, self.settings):
            if record is None:
                continue
            try:
                with self._session(record) as (session, root):
                    root.calls.run(partial(check_idle, record, root, session, self.rule))
            except (Unchanged, OSError, VolumeUnavailable):
                continue
            yield record

    def decompress(self, path: str) -> bool:
        """
        Decompress a file, registered or not: restored files, and files that lost their record, have no record.
        Processes that have the file open go on reading the compressed form.

        Returns:
            False if the file is not compressed.

        Raises:
            FileMissing: nothing has that name, or another file has it now.
            AlreadyClaimed: it is being deleted or compressed at this moment; or a process reads it, and secure deletion
                would overwrite what it reads (TEMP_FILE_SECURE_DELETE).
            UnsafePath: outside the roots, or not a regular file of ours.
            VolumeUnavailable: its root does not answer.
            OSError: it stays as it is; ENOSPC if there is no room.
        """
        return self.roots.run_at(path, partial(self._decompress_here, path))

    def _decompress_here(self, path: str) -> bool:
        _, (record,) = self.registry.read([path])
        if record is not None and record.state is State.LEASED:
            raise AlreadyClaimed.of(path)
        try:
            if record is not None and not is_settled(record):
                record = self._settle(record)
            form = self._decompress(record or FileRecord(path, 0, 0), registered=record is not None)
        except BlockingIOError:
            raise AlreadyClaimed.of(path, compressing=True) from None
        except Unchanged as exc:
            if exc.reason is not Skip.PLAIN:
                raise _error_of(path, exc) from None
            if record is not None and record.is_compressed:
                self._mark(record, "")
            return False
        logger.debug("Decompressed temporary file: %s (%d bytes)", printable(path), form.size_bytes)
        return True

    def _candidates(self, may_start: Callable[[], bool], report: CompressionReport) -> Iterator[FileRecord]:
        try:
            records = self._interrupted.pop()
        except IndexError:
            records = candidates(self.registry, self.settings)
        while may_start():
            try:
                record = next(records)
            except StopIteration:
                return
            if record is not None:
                yield record
        report.finished = False
        self._interrupted.append(records)

    def _try(self, record: FileRecord, report: CompressionReport, step: Callable[[], None]) -> None:
        try:
            new = self.roots.run_at(record.path, partial(self._compress, record, step))
        except VolumeUnavailable as exc:
            report.kept[exc.reason] += 1
        except Unchanged as exc:
            report.kept[exc.word] += 1
            if exc.reason is Skip.NO_EXCHANGE:
                self._give_up_root(record.path)
            if exc.reason is Skip.INCOMPRESSIBLE:
                self._mark(record, Flag.INCOMPRESSIBLE)
        except OSError as exc:
            report.kept[name_of(exc)] += 1
            logger.warning("Could not compress temporary file %s: %s", printable(record.path), exc)
        else:
            if new is not None:
                report.compressed += 1
                report.saved_bytes += new.saved_bytes
                logger.debug("Compressed temporary file: %s", printable(record.path))

    def _compress(self, record: FileRecord, step: Callable[[], None]) -> NewForm | None:
        if not is_settled(record):
            self._settle(record)
            return None
        # Another process may register it meanwhile, and read it without us.
        needed = Flag.MAY_COMPRESS if Flag.MAY_COMPRESS in record.flags else ""
        agreement = RecordAgreement(self.registry, record, Flag.COMPRESSED, COMPRESSED, needed)
        with self._session(record) as (session, root):
            return compress(record, root, session, agreement, self.rule, step)

    def _decompress(self, record: FileRecord, *, registered: bool) -> NewForm:
        agreement: Agreement = NoAgreement()
        if registered:
            agreement = RecordAgreement(self.registry, record, "", DECOMPRESSED)
        with self._session(record) as (session, root):
            return decompress(record, root, session, agreement)

    def _settle(self, record: FileRecord) -> FileRecord:
        """Correct the record of a file whose exchange a crash interrupted; returns the corrected record."""
        with self._session(record) as (session, root):
            form, is_compressed, has_happened = settled_form(record, root, session)
        marks, total = (Flag.COMPRESSED.value, COMPRESSED) if is_compressed else ("", DECOMPRESSED)
        self.registry.amend(
            record.path,
            expected=record.identity,
            identity=form.identity,
            marks=marks,
            size_bytes=form.size_bytes,
            total=total if has_happened else "",
            saved_bytes=form.saved_bytes,
        )
        _, (settled,) = self.registry.read([record.path])
        if settled is None or not is_settled(settled):
            raise Unchanged(Skip.CHANGED)
        return settled

    def _mark(self, record: FileRecord, marks: str) -> None:
        self.registry.amend(record.path, expected=record.identity, identity=record.identity, marks=marks)

    def _give_up_root(self, path: str) -> None:
        """Log it once; this process does not try the root of *path* again."""
        root = self.roots.find(path)
        if root is not None and root.path not in self._without_exchange:
            self._without_exchange.add(root.path)
            logger.warning(
                "Nothing is compressed below %s: its file system cannot exchange names", printable(root.path)
            )

    @contextmanager
    def _session(self, record: FileRecord) -> Iterator[tuple[Session, Root]]:
        root = self.roots.find(record.path)
        if root is None:
            raise Unchanged(Skip.OUTSIDE_ROOTS)
        if root.path in self._without_exchange:
            raise Unchanged(Skip.NO_EXCHANGE)
        if reason := root.moved():
            raise Unchanged.of(reason)
        token = secrets.randbits(62)
        with Session(self.roots, self.settings, [record], token=token, may_go_on=lambda: True) as session:
            yield session, root


def _missing(path: str, exc: Unchanged) -> TempfleetError:
    text = "there is no such file" if exc.reason is Skip.MISSING else "another file has its name now"
    return FileMissing(f"{printable(path)}: {text}.", path=path, reason=exc.word)


def _busy(path: str, _exc: Unchanged) -> TempfleetError:
    return AlreadyClaimed.of(path, compressing=True)


def _in_use(path: str, _exc: Unchanged) -> TempfleetError:
    return AlreadyClaimed(f"{printable(path)} is in use; it would be overwritten.", path=path)


_ERRORS = {
    Skip.MISSING: _missing,
    Skip.REPLACED: _missing,
    Skip.CHANGED: _busy,
    Skip.EXCHANGING: _busy,
    Skip.OPEN: _in_use,
    Skip.LOCKED: _in_use,
}
"""What ``decompress`` raises. For every other reason it is UnsafePath."""

_WHY = {
    Skip.NO_EXCHANGE: "its file system cannot exchange two names",
    Skip.NO_NOTE: "the journal for crashes cannot be written",
}
"""The words for people, if filesystem/paths.py has none."""


def _error_of(path: str, exc: Unchanged) -> TempfleetError:
    if exc.reason in _ERRORS:
        return _ERRORS[exc.reason](path, exc)
    return unsafe(path, exc.word, _WHY.get(exc.reason, ""), action="decompressed")
