"""
Every Redis key name, and the fields of the key ``meta`` that Python writes.

The braces are a hash tag. It puts all keys of a volume into one cluster slot, so that one script may use them all. The
fleet's keys belong to no volume. Each has its own slot.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..logs import logger, printable

SCHEMA = 2
"""Tempfleet uses no registry of another schema; ``tempfleet upgrade`` migrates one of OLDER_SCHEMA."""
OLDER_SCHEMA = 1
UNFINISHED_SCHEMA = "1>2"
"""The schema during the migration, so that neither version uses the registry."""

HOLD = "hold"
"""The name of a keeper without one, and of each hold that schema 1 stored: one for each file."""

VOLUME_KEYS = (
    "registry",
    "leases",
    "claims",
    "held",
    "dead",
    "records",
    "retries",
    "errors",
    "next",
    "stats",
    "meta",
    "tags",
    "keepers",
    "kept",
    "reasons",
    "unregistered",
    "former",
)
FLEET_KEYS = ("volumes", "hosts", "waiting", "sweeps", "clock", "rejected", "ephemeral", "silence", "erased")

DISK = "disk"
"""The field of meta with the identity of the base directory that the files are on."""
DISKS = "disks"
"""The field of meta with the identities of the other roots that files were registered in."""
FULL = "full"
"""The field of meta that is set while the file system is too full and nothing more can be evicted."""
SLACK = "slack_ms"
"""The field of meta that delays all deadlines, because Redis's clock jumped ahead (scripts/lib/slack.lua)."""
NAMESAKES = "namesakes"
"""The field of meta with the number of quarantined files whose registry has the same names, if there are any."""
NOT_SERVED = "refused"
"""The field of meta that says in one word why the worker of its host does not serve the volume."""

UNAVAILABLE = "unavailable"
"""The field of meta that says which due files wait for their disk, how many and until when: see VolumeStats."""


@dataclass(frozen=True, slots=True, order=True)
class Volume:
    """One registry has the files of one volume: those of *base_dir* on *host*."""

    host: str
    base_dir: str

    def __str__(self) -> str:
        return f"{self.host}|{self.base_dir}"

    @property
    def in_words(self) -> str:
        """As messages for people name it."""
        return f"on host {printable(self.host)} in {printable(self.base_dir)}"

    @property
    def wake_up(self) -> str:
        """The name of the message that wakes its host, in the fleet's key ``waiting``."""
        return f"delete_due {self}"

    def encode(self) -> bytes:
        return os.fsencode(str(self))

    @classmethod
    def decode(cls, member: bytes | str) -> Volume:
        """
        Raises:
            ValueError: *member* does not have the form ``host|base_dir``.
        """
        host, bar, base_dir = (os.fsdecode(member) if isinstance(member, bytes) else member).partition("|")
        if not (bar and host and os.path.isabs(base_dir)):
            raise ValueError(f"not a volume: {member!r}; write it as host|/absolute/directory")
        return cls(host, base_dir)


def volumes_of(members: Iterable[bytes]) -> Iterator[Volume]:
    """The volumes of entries in the list of volumes. A damaged entry is left out, with a warning."""
    for member in members:
        try:
            yield Volume.decode(member)
        except ValueError as exc:
            logger.warning("In the list of volumes: %s", exc)


class VolumeKeys(dict[str, bytes]):
    """
    The key of each name in VOLUME_KEYS, computed once per registry. One script takes up to fourteen of them.

    Attributes:
        member: the volume's entry in the fleet's list of volumes.
    """

    def __init__(self, namespace: str, volume: Volume) -> None:
        super().__init__((name, volume_key(namespace, volume, name)) for name in VOLUME_KEYS)
        self.member = volume.encode()


def volume_key(namespace: str, volume: Volume, name: str) -> bytes:
    return os.fsencode(f"{namespace}:{{{volume}}}:{name}")


def fleet_key(namespace: str, name: str) -> bytes:
    return f"{namespace}:{name}".encode()
