"""
The continuity record: what this host last saw of Redis, as a file in the private directory of the base directory.

A process that starts compares Redis with it, so a jump of the clock or a loss of data is noticed even if no process ran
at that time. The file has an entry for each registry that used the directory. An entry is known by names, address and
epoch, because two Redis may have one address, such as localhost in two pods. The file is replaced atomically. It is not
flushed to the disk; after a power failure it may be lost, and the next start is then a first start.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import VolumeUnavailable
from ..filesystem import CLOCK, Root, close, unlock_and_close
from ..logs import logger
from .clock_samples import Sample

NEW_NAME = "clock.new"
ENTRIES = 8
MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Continuity:
    """
    What this host last saw of one registry.

    Attributes:
        boot_id: of the boot that the sample's clock counts from.
        wall_ms: this host's time of day, to compare with after a reboot.
        run_id: of the Redis server; "" if it was not allowed to be read.
        epoch, last_token: of the volume.
    """

    sample: Sample
    boot_id: str
    wall_ms: float
    run_id: str
    epoch: str
    last_token: int

    @classmethod
    def of(cls, entry: Any) -> Continuity:
        """
        Raises:
            ValueError, TypeError, KeyError: *entry* is damaged.
        """
        sample = entry["sample"]
        return cls(
            Sample(
                int(sample["redis_ms"]),
                int(sample["jumped_ms"]),
                float(sample["sent_ms"]),
                float(sample["received_ms"]),
            ),
            str(entry["boot_id"]),
            float(entry["wall_ms"]),
            str(entry["run_id"]),
            str(entry["epoch"]),
            int(entry["last_token"]),
        )


class ContinuityFile:
    """
    The continuity records of the registries that have one *key*: server, database, namespace and volume. They are one
    registry before and after it lost its data, or several Redis.
    """

    def __init__(self, root: Root, key: str) -> None:
        self.private = root.private
        self.calls = root.calls
        self.key = key

    def create(self) -> None:
        """Create the private directory, if the disk allows it."""
        try:
            self.calls.ask(self.private.open)
        except (OSError, VolumeUnavailable) as exc:
            logger.debug("No private directory %s: %s", self.private.path, exc)

    def load(self) -> list[Continuity]:
        """The records, the newest last; none if they cannot be read."""
        try:
            entries = self.calls.ask(self._load)
            return [Continuity.of(entry) for key, entry in entries.items() if key.startswith(f"{self.key} ")]
        except VolumeUnavailable:
            return []  # which is logged
        except (OSError, ValueError, TypeError, KeyError) as exc:
            logger.warning("The continuity record in %s is unreadable: %r", self.private.path, exc)
            return []

    def save(self, continuity: Continuity) -> bool:
        """
        Replace the record, if there is a private directory. Returns False if it was not replaced; the next start may
        then be a first start.
        """
        try:
            return self.calls.ask(lambda: self._save(continuity))
        except (OSError, VolumeUnavailable) as exc:
            logger.debug("No continuity record in %s: %s", self.private.path, exc)
            return False

    def _load(self) -> dict[str, Any]:
        fd = self.private.peek()
        return self._entries(fd) if fd >= 0 else {}

    def _save(self, continuity: Continuity) -> bool:
        if (fd := self.private.peek()) < 0:
            return False
        try:
            entries = self._entries(fd)
        except ValueError:
            entries = {}
        key = f"{self.key} {continuity.epoch}"
        entries.pop(key, None)
        kept = dict([*entries.items()][1 - ENTRIES :])
        self._replace(fd, json.dumps({**kept, key: asdict(continuity)}).encode())
        return True

    def _entries(self, fd: int) -> dict[str, Any]:
        try:
            file = os.open(CLOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except FileNotFoundError:
            return {}
        try:
            entries = json.loads(os.read(file, MAX_BYTES))
        finally:
            close(file)
        if not isinstance(entries, dict):
            raise ValueError("not a JSON object")
        return entries

    def _replace(self, fd: int, content: bytes) -> None:
        """One process at a time writes the new file, under a lock that ends with the process; others skip it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(NEW_NAME, flags, 0o600, dir_fd=fd)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            named = os.stat(NEW_NAME, dir_fd=fd, follow_symlinks=False)
            if os.path.samestat(os.fstat(file), named):
                os.ftruncate(file, 0)
                os.write(file, content)
                os.rename(NEW_NAME, CLOCK, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            unlock_and_close(file)


def record_of(records: Sequence[Continuity], epoch: str) -> Continuity | None:
    """The record of the registry that has *epoch* now. If there is none, it may have lost its data: then the newest."""
    same = [record for record in records if epoch and record.epoch == epoch]
    return next(reversed(same or records), None)
