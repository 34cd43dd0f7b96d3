"""Which records a pass tries to compress, as far as the registry alone shows. transform.py then asks the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import RegistryError
from ..records import FileRecord, Flag, State
from ..registry import Fleet, Registry, Volume
from ..settings import Compression, Settings
from .transform import is_settled

_NEVER = {Flag.DIRECTORY, Flag.UNVERIFIED, Flag.QUARANTINED, Flag.COMPRESSED, Flag.INCOMPRESSIBLE}


def candidates(registry: Registry, settings: Settings) -> Iterator[FileRecord | None]:
    """The records to try, page by page; None after each page, so that the caller can stop there."""
    fleet, own = Fleet(registry.store), registry.volume
    others = [volume for volume in fleet.volumes(host=own.host) if volume != own]
    for paths in registry.waiting_paths(page=settings.batch_size):
        now_ms, records = registry.read(paths)
        before_ms = now_ms - settings.compress_after_seconds * 1000
        found = [
            record
            for record in records
            if record is not None
            and record.registered_ms <= before_ms
            and _is_candidate(record, settings, now_ms)
        ]
        shared = _registered_in(others, fleet, [record.path for record in found])
        yield from (record for record in found if record.path not in shared or not is_settled(record))
        yield None


def _registered_in(volumes: Sequence[Volume], fleet: Fleet, paths: Sequence[str]) -> set[str]:
    """
    Those of *paths* that one of *volumes* registered, too: its registrants did not agree, and its record has only the
    identity of the plain file. All of them if a volume cannot be read.
    """
    registered: set[str] = set()
    if volumes and paths:
        for files in fleet.inside(volumes, paths).values():
            if isinstance(files, RegistryError):
                return set(paths)
            registered.update(inside.path for inside in files)
    return registered


def _is_candidate(record: FileRecord, settings: Settings, now_ms: int) -> bool:
    if record.state is not State.WAITING or record.attempts or record.expires_ms <= now_ms:
        return False
    if not is_settled(record):  # left by a crash
        return True
    if set(record.flags) & _NEVER:
        return False
    return settings.compression is Compression.ALL or Flag.MAY_COMPRESS in record.flags
