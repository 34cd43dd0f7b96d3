"""Which records a pass tries to compress, as far as the registry alone shows. transform.py then asks the disk."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import FileRecord, Flag, State
from ..registry import Registry
from ..settings import Compression, Settings
from .transform import is_settled

_NEVER = {Flag.DIRECTORY, Flag.UNVERIFIED, Flag.QUARANTINED, Flag.COMPRESSED, Flag.INCOMPRESSIBLE}


def candidates(registry: Registry, settings: Settings) -> Iterator[FileRecord | None]:
    """The records to try, page by page; None after each page, so that the caller can stop there."""
    for paths in registry.waiting_paths(page=settings.batch_size):
        now_ms, records = registry.read(paths)
        before_ms = now_ms - settings.compress_after_seconds * 1000
        for record in records:
            if record is None or record.registered_ms > before_ms:
                continue
            if _is_candidate(record, settings, now_ms):
                yield record
        yield None


def _is_candidate(record: FileRecord, settings: Settings, now_ms: int) -> bool:
    if record.state is not State.WAITING or record.attempts or record.expires_ms <= now_ms:
        return False
    if not is_settled(record):  # left by a crash
        return True
    if set(record.flags) & _NEVER:
        return False
    return settings.compression is Compression.ALL or Flag.MAY_COMPRESS in record.flags
