"""The hooks that a plug-in can implement, and the values that they get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from ..records import Deletion, FileRecord

GROUP = "tempfleet.plugins"
PREFIX = "tempfleet_"
BEFORE_DELETE, AFTER_DELETE, ON_FAILURE = "before_delete", "after_delete", "on_failure"
NEAR_EXPIRY, EVICTION_POLICIES = "near_expiry", "eviction_policies"
HOOKS = (BEFORE_DELETE, AFTER_DELETE, ON_FAILURE, NEAR_EXPIRY, EVICTION_POLICIES)

LOAD = "load"
"""Loading a plug-in has a circuit breaker of its own, like each hook."""

ScoreFunction = Callable[[Any], float]
"""What a plug-in gives for each policy: returns the score of a candidate. The file with the lowest score goes first."""

_hookspec = pluggy.HookspecMarker("tempfleet")


hookimpl = pluggy.HookimplMarker("tempfleet")
"""Marks a function of a plug-in as a hook."""


class Specification:
    """The hooks. A plug-in may implement any of them, with all or some of these arguments."""

    @_hookspec
    def tempfleet_before_delete(self, files: Sequence[FileRecord]) -> Iterable[str] | None:
        """
        Veto: return the paths of *files* that must stay; None or an empty answer if all may be deleted.

        Called for every batch before it is deleted or quarantined, for whatever cause; also in a dry run, so it must
        change nothing. For a vetoed file it is called again later. If a call raises, hangs or answers anything else,
        the whole batch is kept.
        """

    @_hookspec
    def tempfleet_after_delete(self, deletions: Sequence[Deletion]) -> None:
        """
        These files of a batch were removed from the disk.

        Called at most once for each file. If a process is killed before this call, no plug-in gets the file; the audit
        log contains it.
        """

    @_hookspec
    def tempfleet_on_failure(self, deletions: Sequence[Deletion]) -> None:
        """These files could not or must not be deleted: outcome ``failed`` or ``refused``, and the reason."""

    @_hookspec
    def tempfleet_near_expiry(self, files: Sequence[FileRecord]) -> None:
        """80 % of the time to live of these files is over. Called at least once for each, in a worker of its host."""

    @_hookspec
    def tempfleet_eviction_policies(self) -> dict[str, ScoreFunction]:
        """
        Return eviction policies: name (small letters, digits and dashes) -> score function of a candidate. The file
        with the lowest score goes first. The function has TEMP_FILE_PLUGIN_TIMEOUT for a page of candidates. If it
        raises or hangs, the eviction ends without deleting another file.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A file that may be deleted to make room.

    Attributes:
        size_bytes: the bytes that its deletion frees: its blocks on the disk, 0 while it has another hard link. For a
            quota, which counts registered sizes: its registered size.
        files: the files, or inodes, that its deletion frees; a directory has many.
        used_ms: when it was last read or written, as far as its file system records it; by the clock of this host.
        now_ms: the time of the Redis clock, comparable with ``record.registered_ms``.
    """

    record: FileRecord
    size_bytes: int
    files: int
    used_ms: int
    now_ms: int

    @property
    def age_ms(self) -> int:
        """The time since its registration, at least 1."""
        return max(self.now_ms - self.record.registered_ms, 1)


Policy = Callable[[Sequence[Candidate]], Sequence[float]]
"""An eviction policy. Returns a score for each candidate; the file with the lowest score goes first."""
