"""
Verifies records that another host made for this one while it was silent. That host could not see this host's disk.

Such a record has no identity. When this host returns, it inspects each file. A file that is there gets its identity and
keeps its deadline. If it is missing, is younger than its record, or may not be managed, its record is dropped with a
warning.

If a file was registered before, it keeps that record (scripts/register.lua): a registration for a silent host never
shortens a deadline and never removes a record. Only if the path leads to another file now, the new record replaces it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import FileMissing, UnsafePath
from ..filesystem import Roots, inspect
from ..logs import logger
from ..records import NO_IDENTITY, FileRecord, Flag, NewFile
from ..registry import Registry
from ..settings import Settings

UNVERIFIED, VERIFIED = "unverified", "verified"
"""Totals that show without a scan whether there is a record to verify."""


def verify_unverified(
    registry: Registry, roots: Roots, settings: Settings, recover: Callable[[], None]
) -> int:
    """
    Verify every unverified record; returns the number of files that are there.

    Args:
        recover: gives what an interrupted clean-up left in a private directory its name back. It comes first, so that
            such a file is not taken for missing.

    Raises:
        VolumeUnavailable: a root is not available; the remaining records are verified by the next call.
    """
    stats = registry.stats()
    unverified = stats.total(UNVERIFIED) - stats.total(VERIFIED)
    if unverified <= 0:
        return 0
    recover()
    existing = 0
    for page in registry.paths():
        now_ms, entries = registry.read(page)
        records = [record for record in entries if record is not None and record.is_unverified]
        existing += sum(_verify(record, now_ms, registry, roots, settings) for record in records)
    registry.observe({VERIFIED: unverified})
    return existing


def _verify(record: FileRecord, now_ms: int, registry: Registry, roots: Roots, settings: Settings) -> bool:
    """Returns whether the file is there and stays registered."""
    ttl, age = max(record.deadline_ms - record.registered_ms, 1), now_ms - record.registered_ms
    try:
        new = inspect(
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
            registry.register([_as_before(record, ttl, age)])
            return True
        logger.warning("Dropped a record that was made while this host was silent: %s", exc)
        registry.unregister([record.path], total="missing" if isinstance(exc, FileMissing) else "released")
        return False
    registry.register([new if new.identity != record.identity else _as_before(record, ttl, age)])
    return True


def _as_before(record: FileRecord, ttl_ms: int, age_ms: int) -> NewFile:
    """Returns *record* with the identity that it had before the registration by another host."""
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
