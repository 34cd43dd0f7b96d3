"""
How much may be registered, who is refused, and who makes room.

The limits of a volume, and of a tag in it, are kept by the script that registers, so they are exact however many
processes register at once. A host spans volumes, hence cluster slots, and no script sees it whole: its totals are
looked up again after a second, or after a hundredth of the limit, so each process may overshoot by that much.

A registrant is known by its tags. To make room (TEMP_FILE_QUOTA=evict) only its own files are deleted, those that
share a tag with the new one, or have none either: who registers too much harms nobody else. They go in the order of
the eviction policy. Held files, files in use and files in quarantine stay. Looking for them costs a look at every
record, so who has nothing that could go is refused without one for a while: a tenth of its time is spent looking.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..cleanup import Cause, Cleaner
from ..errors import PluginFailed, QuotaExceeded
from ..logs import logger, printable
from ..plugins import Candidate, Order
from ..records import FileRecord, NewFile, State
from ..registry import NO_LIMITS, Fleet, Limits, Registration, Registry, VolumeStats, tag_of
from ..settings import Quota, Settings
from .host_totals import HostTotals
from .selection import Shortfall, choose

ROUNDS = 3
"""How often room is made for one call: others may take it."""

LONG_LOOK_SECONDS = 0.1
REST = 10
"""A look for room that took longer than that, and was in vain, is not repeated for ten times as long as it took."""

MOST_AT_REST = 1000
"""Registrants that are remembered."""

OVER = "over:"

Registrant = tuple[str, frozenset[str]]
"""The limit that it is at, and the tags that it is known by."""

FIELDS = {
    "files": "max_files",
    "bytes": "max_bytes",
    "tag_files": "tag_max_files",
    "tag_bytes": "tag_max_bytes",
    "host_files": "host_max_files",
    "host_bytes": "host_max_bytes",
}
"""The limit as the codes name it -> its setting."""


def limits_of(settings: Settings) -> Limits:
    """The limits that registering keeps; none while they are soft."""
    if settings.quota is Quota.SOFT:
        return NO_LIMITS
    return Limits(
        files=settings.max_files or None,
        bytes=settings.max_bytes or None,
        tag_files=settings.tag_max_files or None,
        tag_bytes=settings.tag_max_bytes or None,
    )


def check_size(file: NewFile, settings: Settings) -> NewFile:
    """
    Raises:
        QuotaExceeded: the file is larger than TEMP_FILE_SIZE_LIMIT.
    """
    most = settings.size_limit_bytes
    if most and file.size_bytes > most:
        raise QuotaExceeded(
            f"{printable(file.path)} has {file.size_bytes} bytes, TEMP_FILE_SIZE_LIMIT is {most}; "
            "it was not registered and stays.",
            path=file.path,
            variable="TEMP_FILE_SIZE_LIMIT",
            most=most,
        )
    return file


def refusal(registration: Registration, settings: Settings) -> QuotaExceeded | None:
    """The error that a registration came to, None where it came to none."""
    if not registration.code.startswith(OVER):
        return None
    _, limit, *token = registration.code.split(":", 2)
    variable, most = settings.variable_of(FIELDS[limit]), int(getattr(settings, FIELDS[limit]))
    path, tag = registration.file.path, tag_of(token[0]) if token else ""
    whose = f" for the tag {printable(tag)!r}" if token else ""
    return QuotaExceeded(
        f"{printable(path)} was not registered and stays: {variable} is {most}{whose}, and that is reached.",
        path=path,
        variable=variable,
        most=most,
        tag=tag,
    )


class Admission:
    """Registers as far as the settings' limits let it. Thread-safe as far as the registry's limits go."""

    def __init__(self, registry: Registry, cleaner: Cleaner, order: Order, settings: Settings) -> None:
        self.registry = registry
        self.cleaner = cleaner
        self.order = order
        self.settings = settings
        self.limits = limits_of(settings)
        self.evicts = settings.quota is Quota.EVICT
        has_host_limit = settings.quota is not Quota.SOFT and (
            settings.host_max_files or settings.host_max_bytes
        )
        self.host = HostTotals(Fleet(registry.store), settings) if has_host_limit else None
        self._rests_until: dict[Registrant, float] = {}

    def register(self, files: Sequence[NewFile], *, make_room: bool = True) -> list[Registration]:
        """
        As ``Registry.register``; a file that a limit does not let in has a code that ``refusal`` explains. Raises as
        it does, and where it makes room as ``Cleaner.clean_paths``; without *make_room* nothing is deleted for them.
        """
        done = dict(enumerate(self._try(files)))
        for _ in range(ROUNDS if self.evicts and make_room else 0):
            refused = {at: each for at, each in done.items() if each.code.startswith(OVER)}
            if not refused or not self._make_room(list(refused.values()), {file.path for file in files}):
                break
            again = self._try([each.file for each in refused.values()])
            done.update(zip(refused, again, strict=True))
        return list(done.values())

    def _try(self, files: Sequence[NewFile]) -> list[Registration]:
        broken = self._broken_on_host(files)
        admitted = [file for at, file in enumerate(files) if not broken[at]]
        registered = iter(self.registry.register(admitted, self.limits))
        return [
            Registration(OVER + broken[at], file, 0, 0) if broken[at] else next(registered)
            for at, file in enumerate(files)
        ]

    def _broken_on_host(self, files: Sequence[NewFile]) -> list[str]:
        if self.host is None:
            return [""] * len(files)
        _, known = self.registry.read([file.path for file in files])
        return [
            self.host.broken_by(file) if record is None else ""
            for file, record in zip(files, known, strict=True)
        ]

    def _make_room(self, refused: Sequence[Registration], ours: set[str]) -> int:
        """Delete files of the same registrants, in the policy's order; how many count no more."""
        paths: dict[str, None] = {}
        looks: dict[Registrant, float] = {}
        for limit in dict.fromkeys(each.code for each in refused):
            files = [each.file for each in refused if each.code == limit]
            registrant = (limit, frozenset(tag for file in files for tag in file.tags))
            began = time.monotonic()
            if began < self._rests_until.get(registrant, 0):
                continue
            try:
                chosen = choose(self._candidates(files, ours), self._rank, self._need(limit, files))
            except PluginFailed as exc:
                logger.warning("No room was made: %s", exc)
                return 0
            looks[registrant] = time.monotonic() - began
            paths.update(dict.fromkeys(candidate.record.path for candidate in chosen))
        gone = self._delete(list(paths)) if paths else 0
        if not gone:
            self._rest(looks)
        return gone

    def _rest(self, looks: Mapping[Registrant, float]) -> None:
        """After looks in vain, with the seconds that each took."""
        if len(self._rests_until) >= MOST_AT_REST:
            self._rests_until.clear()
        now = time.monotonic()
        for registrant, seconds in looks.items():
            if seconds > LONG_LOOK_SECONDS:
                self._rests_until[registrant] = now + REST * seconds

    def _delete(self, paths: list[str]) -> int:
        """How many count no more: deleted, set aside, found missing, or taken by somebody else before us."""
        report = self.cleaner.clean_paths([paths], Cause.QUOTA, until_ms=self.registry.now_ms())
        logger.info(
            "Made room: wanted %d files to go, deleted %d and freed %d bytes",
            len(paths), report.deleted, report.freed_bytes,
        )  # fmt: skip
        if self.host is not None:
            self.host.forget()
        return len(paths) - report.kept - report.handed_back

    def _rank(self, candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
        return [(place,) for place in self.order(candidates)]

    def _need(self, code: str, files: Sequence[NewFile]) -> Shortfall:
        """What must go: what is to come, and a twentieth of the limit, so that not every call has to."""
        limit = code.split(":")[1]
        more = int(getattr(self.settings, FIELDS[limit])) // 20
        if "bytes" in limit:
            return Shortfall(bytes=sum(file.size_bytes for file in files) + more)
        return Shortfall(files=len(files) + more)

    def _candidates(self, files: Sequence[NewFile], ours: set[str]) -> Iterator[list[Candidate]]:
        """What waits, is the same registrants', and could be deleted now; counted as the limits count it."""
        deleter = self.cleaner.deleter
        for page in self.registry.waiting_paths():
            now_ms, found = self.registry.read([path for path in page if path not in ours])
            records = [record for record in found if record is not None and _may_go(record, files)]
            yield [
                Candidate(record, record.size_bytes, 1, 0 if weight is None else weight.used_ms, now_ms)
                for record, weight in zip(records, deleter.footprints(records), strict=True)
            ]


def _may_go(record: FileRecord, files: Sequence[NewFile]) -> bool:
    waits = record.state is State.WAITING and not record.is_quarantined
    return waits and any(_shares(record, file) for file in files)


def _shares(record: FileRecord, file: NewFile) -> bool:
    return bool(set(record.tags) & set(file.tags)) or not (record.tags or file.tags)


def soft_warnings(registry: Registry, stats: VolumeStats, settings: Settings) -> Iterator[str]:
    """What is beyond its limit, in the words of the specification's health check."""
    files, size = stats.active - stats.total("aside"), stats.bytes - stats.total("aside_bytes")
    if settings.max_files and files > settings.max_files:
        yield f"Too many temp files: {files}"
    if settings.max_bytes and size > settings.max_bytes:
        yield f"Temp files are too large: {size} bytes"
    if settings.tag_max_files or settings.tag_max_bytes:
        for tag, total in sorted(registry.tag_totals().items()):
            if settings.tag_max_files and total.files > settings.tag_max_files:
                yield f"Too many temp files with the tag {printable(tag)!r}: {total.files}"
            if settings.tag_max_bytes and total.bytes > settings.tag_max_bytes:
                yield f"Temp files with the tag {printable(tag)!r} are too large: {total.bytes} bytes"
    if settings.host_max_files or settings.host_max_bytes:
        for name, amount in HostTotals(Fleet(registry.store), settings).beyond().items():
            yield f"Host {printable(settings.host)} has more temp files than it may: {amount} {name}"
