"""
Quotas: how much may be registered, and what happens to a registration over a limit.

The script that registers checks the limits of the volume and of a tag. So they are exact however many processes
register at once. A host spans several volumes, hence several cluster slots, so no script can read all of it. Its
totals are read again after a second, or after a hundredth of the limit, so each process may exceed the limit by that
much.

A registrant is identified by its tags. To make room (TEMP_FILE_QUOTA=evict) only its own files are deleted: files that
share a tag with the new file, or have no tag if it has none. So a registrant that registers too much harms no other.
Files go in the order of the eviction policy. Held files, files in use and quarantined files stay. A search reads every
record. If it finds nothing to delete, the next search waits ten times as long as this one took; until then the
registrant is rejected without a search.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..cleanup import Cause, Cleaner
from ..errors import PluginFailed, QuotaExceeded
from ..logs import logger, printable
from ..plugins import Candidate, Policy
from ..records import FileRecord, NewFile, State
from ..registry import NO_LIMITS, Fleet, Limits, Registration, Registry, VolumeStats, tag_of
from ..settings import Quota, Settings
from .host_totals import HostTotals
from .selection import Shortfall, choose

ROUNDS = 3
"""How often one call makes room: another process may take the room."""

LONG_SEARCH_SECONDS = 0.1
PAUSE_FACTOR = 10
"""If a search took longer than LONG_SEARCH_SECONDS and found nothing, no other starts for ten times as long."""

MOST_PAUSED = 1000
"""Registrants whose pause is remembered."""

OVER = "over:"

Registrant = tuple[str, frozenset[str]]
"""The limit that it exceeds, and its tags."""

SETTINGS_OF_LIMITS = {
    "files": "max_files",
    "bytes": "max_bytes",
    "tag_files": "tag_max_files",
    "tag_bytes": "tag_max_bytes",
    "host_files": "host_max_files",
    "host_bytes": "host_max_bytes",
}
"""The name of a limit in the codes -> its setting."""


def volume_limits(settings: Settings) -> Limits:
    """Returns the limits that the registering script checks; none if TEMP_FILE_QUOTA is soft."""
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
            f"{printable(file.path)} was not registered, because it has {file.size_bytes} bytes and "
            f"TEMP_FILE_SIZE_LIMIT is {most}. The file was not changed.",
            path=file.path,
            variable="TEMP_FILE_SIZE_LIMIT",
            most=most,
        )
    return file


def quota_error(registration: Registration, settings: Settings) -> QuotaExceeded | None:
    """Returns the error of a registration over a limit, None for any other."""
    if not registration.code.startswith(OVER):
        return None
    _, limit, *token = registration.code.split(":", 2)
    name = SETTINGS_OF_LIMITS[limit]
    variable, most = settings.variable_of(name), int(getattr(settings, name))
    path, tag = registration.file.path, tag_of(token[0]) if token else ""
    scope = f" for the tag {printable(tag)!r}" if token else ""
    return QuotaExceeded(
        f"{printable(path)} was not registered, because {variable} is {most}{scope}. The file was not changed.",
        path=path,
        variable=variable,
        most=most,
        tag=tag,
    )


class Admission:
    """Registers files within the limits of the settings. Thread-safe; limits of a host may be exceeded slightly."""

    def __init__(self, registry: Registry, cleaner: Cleaner, policy: Policy, settings: Settings) -> None:
        self.registry = registry
        self.cleaner = cleaner
        self.policy = policy
        self.settings = settings
        self.limits = volume_limits(settings)
        self.evicts = settings.quota is Quota.EVICT
        has_host_limit = settings.quota is not Quota.SOFT and (
            settings.host_max_files or settings.host_max_bytes
        )
        self.host = HostTotals(Fleet(registry.store), settings) if has_host_limit else None
        self._paused_until: dict[Registrant, float] = {}

    def register(
        self, files: Sequence[NewFile], own: Mapping[str, int], *, make_room: bool = True
    ) -> list[Registration]:
        """
        As ``Registry.register``; ``quota_error`` explains the code of a file over a limit. Raises as
        ``Registry.register`` does, and as ``Cleaner.clean_paths`` if it makes room. Without *make_room* no file is
        deleted.
        """
        results = dict(enumerate(self._try(files, own)))
        for _ in range(ROUNDS if self.evicts and make_room else 0):
            rejected = {index: result for index, result in results.items() if result.code.startswith(OVER)}
            if not rejected or not self._make_room(list(rejected.values()), {file.path for file in files}):
                break
            retried = self._try([result.file for result in rejected.values()], own)
            results.update(zip(rejected, retried, strict=True))
        return list(results.values())

    def _try(self, files: Sequence[NewFile], own: Mapping[str, int]) -> list[Registration]:
        exceeded = self._exceeded_on_host(files)
        admitted = [file for file, limit in zip(files, exceeded, strict=True) if not limit]
        registered = iter(self.registry.register(admitted, self.limits, own))
        return [
            Registration(OVER + limit, file) if limit else next(registered)
            for file, limit in zip(files, exceeded, strict=True)
        ]

    def _exceeded_on_host(self, files: Sequence[NewFile]) -> list[str]:
        if self.host is None:
            return [""] * len(files)
        """Returns the limit of the host that each file would exceed, or ""."""
        _, records = self.registry.read([file.path for file in files])
        return [
            self.host.exceeded_by(file) if record is None else ""
            for file, record in zip(files, records, strict=True)
        ]

    def _make_room(self, rejected: Sequence[Registration], ours: set[str]) -> int:
        """Delete files of the same registrants, in the order of the policy; returns how many count no longer."""
        paths: dict[str, None] = {}
        searches: dict[Registrant, float] = {}
        for limit in dict.fromkeys(result.code for result in rejected):
            files = [result.file for result in rejected if result.code == limit]
            registrant = (limit, frozenset(tag for file in files for tag in file.tags))
            began = time.monotonic()
            if began < self._paused_until.get(registrant, 0):
                continue
            try:
                chosen = choose(self._candidates(files, ours), self._scores, self._shortfall(limit, files))
            except PluginFailed as exc:
                logger.warning("No room was made: %s", exc)
                return 0
            searches[registrant] = time.monotonic() - began
            paths.update(dict.fromkeys(candidate.record.path for candidate in chosen))
        freed = self._delete(list(paths)) if paths else 0
        if not freed:
            self._pause(searches)
        return freed

    def _pause(self, searches: Mapping[Registrant, float]) -> None:
        """Pause the registrants whose searches found nothing; *searches* has the seconds that each took."""
        if len(self._paused_until) >= MOST_PAUSED:
            self._paused_until.clear()
        now = time.monotonic()
        for registrant, seconds in searches.items():
            if seconds > LONG_SEARCH_SECONDS:
                self._paused_until[registrant] = now + PAUSE_FACTOR * seconds

    def _delete(self, paths: list[str]) -> int:
        """Returns how many count no longer: deleted, quarantined, missing, or deleted by another process."""
        report = self.cleaner.clean_paths([paths], Cause.QUOTA, until_ms=self.registry.now_ms())
        logger.info(
            "Made room: chose %d files, deleted %d and freed %d bytes",
            len(paths),
            report.deleted,
            report.freed_bytes,
        )
        if self.host is not None:
            self.host.forget()
        return len(paths) - report.kept - report.handed_back

    def _scores(self, candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
        return [(score,) for score in self.policy(candidates)]

    def _shortfall(self, code: str, files: Sequence[NewFile]) -> Shortfall:
        """Returns the size of *files* plus a twentieth of the limit, so that not every call has to make room."""
        limit = code.split(":")[1]
        reserve = int(getattr(self.settings, SETTINGS_OF_LIMITS[limit])) // 20
        if "bytes" in limit:
            return Shortfall(bytes=sum(file.size_bytes for file in files) + reserve)
        return Shortfall(files=len(files) + reserve)

    def _candidates(self, files: Sequence[NewFile], ours: set[str]) -> Iterator[list[Candidate]]:
        """Yields the waiting files of the same registrants, with sizes as the limits count them."""
        deleter = self.cleaner.deleter
        for page in self.registry.waiting_paths():
            now_ms, entries = self.registry.read([path for path in page if path not in ours])
            records = [record for record in entries if record is not None and _may_go(record, files)]
            yield [
                Candidate(record, record.size_bytes, 1, 0 if footprint is None else footprint.used_ms, now_ms)
                for record, footprint in zip(records, deleter.footprints(records), strict=True)
            ]


def _may_go(record: FileRecord, files: Sequence[NewFile]) -> bool:
    is_active = record.state is State.WAITING and not record.is_quarantined
    return is_active and any(_has_same_registrant(record, file) for file in files)


def _has_same_registrant(record: FileRecord, file: NewFile) -> bool:
    return bool(set(record.tags) & set(file.tags)) or not (record.tags or file.tags)


def quota_warnings(registry: Registry, stats: VolumeStats, settings: Settings) -> Iterator[str]:
    """Yields a warning for each exceeded limit, in the words of the specification's health check."""
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
        for name, amount in HostTotals(Fleet(registry.store), settings).exceeded().items():
            yield f"Host {printable(settings.host)} has more temp files than it may: {amount} {name}"
