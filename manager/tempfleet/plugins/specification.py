"""What a plug-in can implement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from ..records import Deletion, FileRecord

GROUP = "tempfleet.plugins"
PREFIX = "tempfleet_"
BEFORE, AFTER, FAILURE = "before_delete", "after_delete", "on_failure"
NEAR, POLICIES = "near_expiry", "eviction_policies"
HOOKS = (BEFORE, AFTER, FAILURE, NEAR, POLICIES)

LOAD = "load"
"""What is contained beside the hooks."""

ScoreFunction = Callable[[Any], float]
"""What a plug-in gives for each policy: returns the score of a candidate. The file with the lowest score goes first."""

_hookspec = pluggy.HookspecMarker("tempfleet")


hookimpl = pluggy.HookimplMarker("tempfleet")
"""Marks a function of a plug-in as a hook."""


class Specification:
    """The hooks, each of which a plug-in may implement, with these arguments or fewer of them."""

    @_hookspec
    def tempfleet_before_delete(self, files: Sequence[FileRecord]) -> Iterable[str] | None:
        """
        Veto: the paths, of *files*, that are to stay; None or nothing for none.

        Asked of every batch that is to be deleted, and set aside into the quarantine, whoever deletes; also for a dry
        run, so it must change nothing. A file that is kept is asked about again later. A call that raises, hangs or
        answers anything else keeps the whole batch.
        """

    @_hookspec
    def tempfleet_after_delete(self, deletions: Sequence[Deletion]) -> None:
        """
        These files of a batch were removed from the disk.

        At most once for each: a process that is killed in between tells nobody (the audit log has them).
        """

    @_hookspec
    def tempfleet_on_failure(self, deletions: Sequence[Deletion]) -> None:
        """These files of a batch could not be deleted, or may not be: outcome ``failed`` or ``refused``, and why."""

    @_hookspec
    def tempfleet_near_expiry(self, files: Sequence[FileRecord]) -> None:
        """These files have lived 80 % of their time. At least once for each, in a worker of their host."""

    @_hookspec
    def tempfleet_eviction_policies(self) -> dict[str, ScoreFunction]:
        """
        Orders in which files make room: name (small letters, digits and dashes) -> key function of a candidate; the
        file with the lowest number goes first. The key has TEMP_FILE_PLUGIN_TIMEOUT for a page of candidates; one that
        raises or hangs ends the attempt to make room: nothing goes for it.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A file that could make room.

    Attributes:
        size_bytes: what its going gives back: the blocks that it has on the disk, 0 while it has another hard link
            (where a quota counts sizes as they were registered: that size).
        files: the files, or inodes, that its going gives back; a directory has many.
        used_ms: when it was last read or written, as far as its file system tells; by this host's clock.
        now_ms: the Redis clock, which ``record.registered_ms`` is of.
    """

    record: FileRecord
    size_bytes: int
    files: int
    used_ms: int
    now_ms: int

    @property
    def age_ms(self) -> int:
        """Since its registration, at least 1."""
        return max(self.now_ms - self.record.registered_ms, 1)


Policy = Callable[[Sequence[Candidate]], Sequence[float]]
"""An eviction policy. Returns a score for each candidate; the file with the lowest score goes first."""
