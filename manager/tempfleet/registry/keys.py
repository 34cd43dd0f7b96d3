"""
Every Redis key name, and the fields of the key ``meta`` that Python writes.

The braces are a hash tag: all keys of a volume live in one cluster slot, so one script may touch them all.
The fleet's keys belong to no volume and each has a slot of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..logs import printable

SCHEMA = 1

VOLUME_KEYS = (
    "registry", "leases", "claims", "held", "dead", "records",
    "retries", "errors", "next", "stats", "meta", "tags", "reasons",
)  # fmt: skip
FLEET_KEYS = ("volumes", "hosts", "waiting", "sweeps")

DISK = "disk"
"""The field of meta with the identity of the base directory that the files are on."""
FULL = "full"
"""The field of meta that is set while the file system is too full and nothing more can be evicted."""
NOT_SERVED = "refused"
"""The field of meta that says in one word why the worker of its host does not serve the volume."""


@dataclass(frozen=True, slots=True, order=True)
class Volume:
    """One registry: the files of *base_dir* on *host*."""

    host: str
    base_dir: str

    def __str__(self) -> str:
        return f"{self.host}|{self.base_dir}"

    @property
    def in_words(self) -> str:
        """For people."""
        return f"on host {printable(self.host)} in {printable(self.base_dir)}"

    def encode(self) -> bytes:
        return os.fsencode(str(self))

    @classmethod
    def decode(cls, member: bytes | str) -> Volume:
        """
        Raises:
            ValueError: *member* is not ``host|base_dir``.
        """
        host, bar, base_dir = (os.fsdecode(member) if isinstance(member, bytes) else member).partition("|")
        if not (bar and host and os.path.isabs(base_dir)):
            raise ValueError(f"not a volume: {member!r}; it is written host|/absolute/directory")
        return cls(host, base_dir)


class VolumeKeys(dict[str, bytes]):
    """
    The key of each name in VOLUME_KEYS. Computed once per registry, because a script takes up to twelve of them.

    Attributes:
        member: the volume's own entry in the fleet's list of volumes.
    """

    def __init__(self, namespace: str, volume: Volume) -> None:
        super().__init__((name, volume_key(namespace, volume, name)) for name in VOLUME_KEYS)
        self.member = volume.encode()


def volume_key(namespace: str, volume: Volume, name: str) -> bytes:
    return os.fsencode(f"{namespace}:{{{volume}}}:{name}")


def fleet_key(namespace: str, name: str) -> bytes:
    return f"{namespace}:{name}".encode()
