"""
Compressing what nobody has used for long (``TEMP_FILE_COMPRESS_AFTER``), and undoing it.

Which files: those that were registered with ``compress=True``, or all of a volume (``TEMP_FILE_COMPRESSION``); their
readers use ``manager.open``, which reads either form. What is held, due, retried or in quarantine is left alone. How
a file changes its form while others delete, renew and read is in deletion/exchange.py.

A pass goes through the registry page by page, and the next one goes on where it stopped; so a large volume costs a
little at a time.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..deletion import Agreement, NewForm, Session, Skip, Unchanged, recover
from ..errors import AlreadyClaimed, FileMissing, TempfleetError, UnsafePath
from ..filesystem import Root, Roots
from ..filesystem import name_of as reason_of
from ..logs import logger, printable
from ..records import FileRecord, Flag, State
from ..registry import Registry
from ..settings import Settings
from . import transform as forms
from .agreement import NoAgreement, RecordAgreement
from .candidates import candidates

COMPRESSED, DECOMPRESSED = "compressed", "decompressed"


@dataclass(slots=True)
class CompressionReport:
    """
    What one pass did.

    Attributes:
        saved_bytes: what the disk got back.
        kept: files that were looked at and stay as they are, by a short word for the reason.
        finished: False when the budget or a stop ended it; the next pass goes on from there.
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
    """Changes the form of one volume's files. Thread-safe; passes at once look at the same files."""

    def __init__(self, registry: Registry, roots: Roots, settings: Settings) -> None:
        self.registry = registry
        self.roots = roots
        self.settings = settings
        self.idle = forms.Idle(settings.compress_after_seconds, settings.compress_min_bytes)
        self._begun: list[Iterator[FileRecord | None]] = []  # rounds to go on with; pop and append are atomic
        self._without_exchange: set[str] = set()

    def compress_idle(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[CompressionReport], None] | None = None,
    ) -> CompressionReport:
        """
        Compress idle files until all were looked at, the budget ends or *stop* is set. *progress* is told after each.

        One bad file never stops the others: it stays as it is, and the report says why.

        Raises:
            RegistryError: Redis went away. Each file is whole, in one form or the other, and its record accepts it.
            CompressionUnavailable: the library is not installed.
        """
        began = time.monotonic()
        report = CompressionReport()

        def may_start() -> bool:
            spent = budget_seconds is not None and time.monotonic() >= began + budget_seconds
            return not spent and not (stop is not None and stop.is_set())

        def step() -> None:
            if stop is not None and stop.is_set():
                raise Unchanged(Skip.STOPPED)

        if self.settings.compress_after_seconds:
            recover(self.roots)
            for record in self._candidates(may_start, report):
                self._try(record, report, lambda record: self._compress(record, step))
                if progress is not None:
                    progress(report)
        report.seconds = time.monotonic() - began
        if report.compressed:
            logger.info(
                "Compressed %d temporary files, %d bytes saved, in %.2f s",
                report.compressed, report.saved_bytes, report.seconds,
            )  # fmt: skip
        return report

    def preview(self) -> Iterator[FileRecord]:
        """The files that ``compress_idle`` would try now; changes nothing."""
        if not self.settings.compress_after_seconds:
            return
        for record in candidates(self.registry, self.settings):
            if record is None:
                continue
            try:
                with self._session(record) as (session, root):
                    forms.look(record, root, session, self.idle)
            except (Unchanged, OSError):
                continue
            yield record

    def decompress(self, path: str) -> bool:
        """
        Give a file its plain form; False if it has that already. Who has it open goes on reading what was there. One
        that nobody registered is decompressed too: what was restored, or lost its record.

        Raises:
            FileMissing: nothing has that name, or another file has it now.
            AlreadyClaimed: it is being deleted or compressed at this moment; or somebody reads it, and what was there
                is to be overwritten (TEMP_FILE_SECURE_DELETE).
            UnsafePath: outside the roots, or no regular file of ours.
            OSError: it stays as it is; ENOSPC where there is no room.
        """
        _, (record,) = self.registry.read([path])
        if record is not None and record.state is State.LEASED:
            raise AlreadyClaimed.of(path)
        try:
            if record is not None and not forms.is_settled(record):
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

    # -- inside

    def _candidates(self, may_start: Callable[[], bool], report: CompressionReport) -> Iterator[FileRecord]:
        try:
            current = self._begun.pop()
        except IndexError:
            current = candidates(self.registry, self.settings)
        while may_start():
            try:
                record = next(current)
            except StopIteration:
                return
            if record is not None:
                yield record
        report.finished = False
        self._begun.append(current)

    def _try(
        self, record: FileRecord, report: CompressionReport, work: Callable[[FileRecord], NewForm | None]
    ) -> None:
        try:
            new = work(record)
        except Unchanged as exc:
            report.kept[exc.word] += 1
            if exc.reason is Skip.NO_EXCHANGE:
                self._cannot_exchange(record)
            if exc.reason is Skip.INCOMPRESSIBLE:
                self._mark(record, Flag.INCOMPRESSIBLE)
        except OSError as exc:
            report.kept[reason_of(exc)] += 1
            logger.warning("Could not compress temporary file %s: %s", printable(record.path), exc)
        else:
            if new is not None:
                report.compressed += 1
                report.saved_bytes += new.saved_bytes
                logger.debug("Compressed temporary file: %s", printable(record.path))

    def _compress(self, record: FileRecord, step: Callable[[], None]) -> NewForm | None:
        if not forms.is_settled(record):
            self._settle(record)
            return None
        agreement = RecordAgreement(self.registry, record, Flag.COMPRESSED, COMPRESSED)
        with self._session(record) as (session, root):
            return forms.compress(record, root, session, agreement, self.idle, step)

    def _decompress(self, record: FileRecord, *, registered: bool) -> NewForm:
        agreement: Agreement = NoAgreement()
        if registered:
            agreement = RecordAgreement(self.registry, record, "", DECOMPRESSED)
        with self._session(record) as (session, root):
            return forms.decompress(record, root, session, agreement)

    def _settle(self, record: FileRecord) -> FileRecord:
        """The record of a file whose exchange was cut off by a crash, as it should have become."""
        with self._session(record) as (session, root):
            found = forms.settled(record, root, session)
        marks, total = (Flag.COMPRESSED.value, COMPRESSED) if found.is_packed else ("", DECOMPRESSED)
        self.registry.amend(
            record.path,
            expected=record.identity,
            identity=found.form.identity,
            marks=marks,
            size_bytes=found.form.size_bytes,
            total=total if found.has_happened else "",
            saved_bytes=found.form.saved_bytes,
        )
        _, (now,) = self.registry.read([record.path])
        if now is None or not forms.is_settled(now):
            raise Unchanged(Skip.CHANGED)
        return now

    def _mark(self, record: FileRecord, marks: str) -> None:
        self.registry.amend(record.path, expected=record.identity, identity=record.identity, marks=marks)

    def _cannot_exchange(self, record: FileRecord) -> None:
        """Said once, and not tried again by this process."""
        root = self.roots.find(record.path)
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
    return FileMissing(f"{printable(path)}: {FileMissing.__doc__}", path=path, reason=exc.word)


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
"""What ``decompress`` raises; for every other reason, UnsafePath."""


def _error_of(path: str, exc: Unchanged) -> TempfleetError:
    if exc.reason in _ERRORS:
        return _ERRORS[exc.reason](path, exc)
    return UnsafePath(f"{printable(path)} cannot be decompressed: {exc.word}.", path=path, reason=exc.word)
