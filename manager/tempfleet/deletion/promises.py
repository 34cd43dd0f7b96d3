"""
What deleting has to know from the registry, and to tell it. ``deletion`` does not talk to Redis; ``cleanup`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..records import FileRecord, NewFile


class Owner(NamedTuple):
    """
    The registry that has the record of a file.

    Attributes:
        host, base_dir: its volume.
        namespace: of its keys.
        redis: the address of its Redis.
        epoch: random text that a registry gets when it is made; another one if Redis has lost its data.
    """

    host: str = ""
    base_dir: str = ""
    namespace: str = ""
    redis: str = ""
    epoch: str = ""

    def is_same(self, other: Owner) -> bool:
        """Whether both are one registry, which may have lost its data or moved to another address since."""
        return self[:3] == other[:3] and (self.epoch == other.epoch or self.redis == other.redis)


NOBODY = Owner()
"""No registry: of a journal that concerns no record."""


class Promises(Protocol):
    """The registry, as the deleter sees it. Each method may raise RegistryError."""

    def owner(self, *, fresh: bool = False) -> Owner:
        """Returns which registry this is. With *fresh* its epoch is read again: Redis may have lost its data."""

    def begin(self, record: FileRecord, token: int) -> bool:
        """
        Record that destroying the file begins, so that nobody is promised the file any more. Returns False if the lease
        is gone; then the file must not be touched.
        """

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        """The time by the Redis clock (ms), and the record of each path; None for a path without one."""

    def register(self, file: NewFile) -> None:
        """Register a file that has lost its record."""


class NoRegistry:
    """For callers without a registry: nothing has a record."""

    def owner(self, *, fresh: bool = False) -> Owner:
        return NOBODY

    def begin(self, record: FileRecord, token: int) -> bool:
        return True

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        return 0, [None] * len(paths)

    def register(self, file: NewFile) -> None:
        pass
