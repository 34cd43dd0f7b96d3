"""
Files that were recorded for this host while it was silent, by somebody who could not see its disk.

Their records have no identity. When the host returns it looks at each: what is there gets its identity and keeps its
deadline; what is not there, is younger than its record, or may not be managed, is forgotten with a warning.

A file that was registered already keeps the record it had (scripts/register.lua): nothing that is said from afar makes
it due earlier, or forgotten. Only where the name stands for another file by now does that one take its place.
"""

from __future__ import annotations

from ..errors import FileMissing, UnsafePath
from ..filesystem import Roots, inspect
from ..logs import logger
from ..records import NO_IDENTITY, FileRecord, Flag, NewFile
from ..registry import Registry
from ..settings import Settings

RECORDED, VERIFIED = "unverified", "verified"
"""The totals that say, without a scan, whether there is anything to look at."""


def verify_unverified(registry: Registry, roots: Roots, settings: Settings) -> int:
    """
    Look at every record that nobody has seen the file of; how many are there.

    Raises:
        VolumeUnavailable: a root is not here; what was not looked at yet will be, the next time.
    """
    stats = registry.stats()
    unseen = stats.total(RECORDED) - stats.total(VERIFIED)
    if unseen <= 0:
        return 0
    there = 0
    for page in registry.paths():
        now_ms, records = registry.read(page)
        found = [record for record in records if record is not None and record.is_unverified]
        there += sum(_verify(record, now_ms, registry, roots, settings) for record in found)
    registry.count(VERIFIED, unseen)
    return there


def _verify(record: FileRecord, now_ms: int, registry: Registry, roots: Roots, settings: Settings) -> bool:
    ttl, age = max(record.deadline_ms - record.registered_ms, 1), now_ms - record.registered_ms
    try:
        seen = inspect(
            record.path,
            roots,
            ttl_ms=ttl,
            tags=record.tags,
            confined=settings.confined_roots,
            age_ms=age,
            older_than_ms=record.registered_ms,
        )
    except (FileMissing, UnsafePath) as exc:
        if record.identity != NO_IDENTITY:
            registry.register([_as_it_was(record, ttl, age)])
            return True
        logger.warning("Recorded while this host was silent, and forgotten: %s", exc)
        registry.unregister([record.path], total="missing" if isinstance(exc, FileMissing) else "released")
        return False
    registry.register([seen if seen.identity != record.identity else _as_it_was(record, ttl, age)])
    return True


def _as_it_was(record: FileRecord, ttl_ms: int, age_ms: int) -> NewFile:
    """*record* with the identity that it had before it was spoken of from afar."""
    return NewFile(
        record.path,
        ttl_ms,
        size_bytes=record.size_bytes,
        identity=record.identity,
        flags=record.flags.replace(Flag.UNVERIFIED, ""),
        uid=record.uid,
        tags=record.tags,
        age_ms=age_ms,
    )
