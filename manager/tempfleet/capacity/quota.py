"""
Quotas: how much may be registered, and what happens to a registration over a limit.

The script that registers checks the limits of the volume and of a tag. So they are exact however many processes
register at once. A host spans several volumes, hence several cluster slots, so no script can read all of it. Its
totals are read again after a second, or after a hundredth of the limit, so each process may exceed the limit by that
much.

With TEMP_FILE_QUOTA=evict, a registration over a limit deletes other files of the same registrant, see making_room.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..cleanup import Cleaner
from ..errors import QuotaExceeded
from ..logs import printable
from ..plugins import Policy
from ..records import NewFile
from ..registry import NO_LIMITS, Fleet, Limits, Registration, Registry, VolumeStats, tag_of
from ..settings import Quota, Settings
from .host_totals import HostTotals
from .making_room import Room, RoomMaker, Shortage

OVER = "over:"

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
        self.settings = settings
        self.limits = volume_limits(settings)
        self.evicts = settings.quota is Quota.EVICT
        has_host_limit = settings.quota is not Quota.SOFT and (
            settings.host_max_files or settings.host_max_bytes
        )
        self.host = HostTotals(Fleet(registry.store), settings) if has_host_limit else None
        self.room_maker = RoomMaker(cleaner, policy)

    def register(
        self, files: Sequence[NewFile], own: Mapping[str, int], *, make_room: bool = True
    ) -> list[Registration]:
        """
        As ``Registry.register``; ``quota_error`` explains the code of a file over a limit. Raises as
        ``Registry.register`` does, and as ``Cleaner.clean_paths`` if it makes room. Without *make_room* no file is
        deleted.
        """
        results = self._try(files, own)
        if not (self.evicts and make_room):
            return results
        room = Room(self.room_maker, {file.path for file in files})
        while rejected := [n for n, result in enumerate(results) if result.code.startswith(OVER)]:
            if not room.make(self._shortages([results[n] for n in rejected])):
                break
            if self.host is not None:
                self.host.forget()
            retried = self._try([files[n] for n in rejected], own)
            for n, result in zip(rejected, retried, strict=True):
                results[n] = result
        return results

    def _try(self, files: Sequence[NewFile], own: Mapping[str, int]) -> list[Registration]:
        exceeded = self._exceeded_on_host(files)
        admitted = [file for file, limit in zip(files, exceeded, strict=True) if not limit]
        registered = iter(self.registry.register(admitted, self.limits, own))
        return [
            Registration(OVER + limit, file) if limit else next(registered)
            for file, limit in zip(files, exceeded, strict=True)
        ]

    def _exceeded_on_host(self, files: Sequence[NewFile]) -> list[str]:
        """Returns the limit of the host that each file would exceed, or ""."""
        if self.host is None:
            return [""] * len(files)
        _, records = self.registry.read([file.path for file in files])
        return [
            self.host.exceeded_by(file) if record is None else ""
            for file, record in zip(files, records, strict=True)
        ]

    def _shortages(self, rejected: Sequence[Registration]) -> list[Shortage]:
        files: dict[str, list[NewFile]] = {}
        for result in rejected:
            files.setdefault(result.code.removeprefix(OVER), []).append(result.file)
        return [
            Shortage(limit, int(getattr(self.settings, SETTINGS_OF_LIMITS[limit.partition(":")[0]])), group)
            for limit, group in files.items()
        ]


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
