"""
What deleting has to know from the registry, and to tell it. ``deletion`` does not talk to Redis; ``cleanup`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from ..records import FileRecord, NewFile, Obstacle

PROMISED: Final = "promised-inside"
"""A registered file in the directory is not due yet."""
HELD: Final = "held-inside"
CLAIMED: Final = "claimed-inside"
"""A file in the directory is being deleted by its own record."""
PROMISED_BESIDE: Final = "promised-beside"
"""Another volume of this host registered the file, too, and it is not due there yet."""
HELD_BESIDE: Final = "held-beside"
CLAIMED_BESIDE: Final = "claimed-beside"
VOLUME: Final = "volume-inside"
"""The directory is, or contains, the base directory of a volume."""
PRIVATE: Final = "private-inside"
"""The directory contains a private directory: files wait there for their deletion or their restore."""
UNREADABLE: Final = "registry-unreadable"
"""The registry of a volume of this host cannot be read, so nobody knows what it promised."""
REFILLED: Final = "refilled"
"""Processes add files to the directory while it is emptied."""
UNFINISHED: Final = "unfinished"
"""The directory took its share of the time; the next try goes on."""
WORKING: Final = "working-directory"
"""A process works in the directory."""


class Owner(NamedTuple):
    """
    The registry that has the record of a file.

    Attributes:
        host, base_dir: its volume.
        namespace: of its keys.
        redis: the address of its Redis, with the number of the database. For people only: ``localhost`` is another
            Redis in each pod.
        epoch: random text that a registry gets when it is made; another one if Redis has lost its data.
    """

    host: str = ""
    base_dir: str = ""
    namespace: str = ""
    redis: str = ""
    epoch: str = ""

    def is_same(self, other: Owner) -> bool:
        """Whether both are one registry, which may have moved to another address since."""
        return self[:3] == other[:3] and self.epoch == other.epoch != ""

    def is_namesake(self, other: Owner) -> bool:
        """Whether they have the same names only. Either is another Redis, or one Redis before it lost its data."""
        return self[:3] == other[:3] and not self.is_same(other)


NOBODY = Owner()
"""No registry: of a journal that concerns no record."""


class Records(Protocol):
    """The registry with the records of a volume. Each method may raise RegistryError."""

    def owner(self, *, fresh: bool = False) -> Owner:
        """Returns which registry this is. With *fresh* its epoch is read again: Redis may have lost its data."""

    def begin(self, record: FileRecord, token: int) -> bool:
        """
        Record that destroying the file begins, so that nobody is promised the file any more. Returns False if the lease
        is gone; then the file must not be touched.
        """

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        """The time by the Redis clock (ms), and the record of each path; None for a path without one."""

    def former(self, paths: Sequence[str]) -> list[FileRecord | None]:
        """The record that each of *paths* had when it was unregistered, as far as the registry remembers it."""

    def forget_former(self, record: FileRecord) -> None:
        """Forget that a file was unregistered. *record* is the one that it had."""

    def register(self, file: NewFile) -> None:
        """Register a file that has lost its record."""


class Promises(Records, Protocol):
    """The registry, as the deleter sees it, and what all registries of its host promised about a directory's files."""

    def obstacle(
        self, directory: FileRecord, pages: Iterable[Sequence[str]], *, claim: bool
    ) -> Obstacle | None:
        """
        Returns what stands against deleting *directory*, None if nothing does. It stops at the first page with an
        obstacle. All registries of this host are asked.

        Args:
            pages: the paths in the directory, and its own path.
            claim: also claim the files that are due, so that nobody can renew or hold them any more. ``settle`` ends
                these claims.
        """

    def settle(self, directory: FileRecord, *, gone: bool) -> None:
        """
        End the claims of ``obstacle``, if there are any. If the directory goes (*gone*), so do the files that were due;
        otherwise they wait again.
        """

    def cut_off(self, directory: FileRecord) -> None:
        """The time ran out before the whole directory was looked at. The next try gets twice the time."""


class NoRegistry:
    """For callers without a registry: nothing has a record."""

    def owner(self, *, fresh: bool = False) -> Owner:
        return NOBODY

    def begin(self, record: FileRecord, token: int) -> bool:
        return True

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        return 0, [None] * len(paths)

    def former(self, paths: Sequence[str]) -> list[FileRecord | None]:
        return [None] * len(paths)

    def forget_former(self, record: FileRecord) -> None:
        pass

    def register(self, file: NewFile) -> None:
        pass

    def obstacle(
        self, directory: FileRecord, pages: Iterable[Sequence[str]], *, claim: bool
    ) -> Obstacle | None:
        for _ in pages:
            pass
        return None

    def settle(self, directory: FileRecord, *, gone: bool) -> None:
        pass

    def cut_off(self, directory: FileRecord) -> None:
        pass


class WithoutRecord(NoRegistry):
    """For a file that has lost its record. There is no lease to show, but what is in a directory may be registered."""

    def __init__(self, promises: Promises) -> None:
        self.obstacle = promises.obstacle  # type: ignore[method-assign]
        self.settle = promises.settle  # type: ignore[method-assign]
        self.cut_off = promises.cut_off  # type: ignore[method-assign]
