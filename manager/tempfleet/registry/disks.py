"""What a registry asks about the directories that its files are in. ``reconciliation`` answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from .stats import VolumeStats


class Disks(Protocol):
    """
    The directories of one volume, as this process sees them.

    Attributes:
        base: the identity of the base directory, "" if this process cannot see it.
    """

    base: str

    def others(self, paths: Iterable[str]) -> str:
        """The identities of the other roots that *paths* are in, as the registry stores them."""

    def compare(self, stored: str) -> None:
        """Called with each claim: *stored* has the identities of the roots that files were registered in."""

    def confirm(self, stats: VolumeStats, others: str) -> Mapping[str, str]:
        """
        Returns the fields of meta that make the registry accept the base directory and *others*.

        Raises:
            VolumeUnavailable: the registry has files of another directory.
        """


class NoDisks:
    """For a registry whose directories this process does not look at."""

    base = ""

    def others(self, paths: Iterable[str]) -> str:
        return ""

    def compare(self, stored: str) -> None:
        pass

    def confirm(self, stats: VolumeStats, others: str) -> Mapping[str, str]:
        return {}
