"""
The values of the label ``outcome``. Every value that a process can count is shown from 0 on, as soon as its volume is
shown: Prometheus sees no increase in the first sample of a series, so a series that began with its first burst would
hide the burst.

A word that is not listed here, such as an unusual errno, is counted as OTHER. The records and ``tempfleet dead ls``
have the word itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import errors
from ..errors import RegistryError, TempfleetError, VolumeUnavailable
from ..plugins import FAILED, VETO, Plugin
from ..registry import LEFT, VolumeStats

OTHER = "other"

FAILURES = (
    *("EACCES", "EAGAIN", "EBUSY", "EDQUOT", "EIO", "EMFILE", "ENAMETOOLONG", "ENFILE", "ENODEV", "ENOENT"),
    *("ENOMEM", "ENOSPC", "ENOTCONN", "ENOTEMPTY", "EPERM", "EROFS", "ESTALE", "ETXTBSY"),
    *("another-disk", "claimed-beside", "claimed-inside", "held-beside", "held-inside", "identity-unknown"),
    *("in-use-unknown", "locked", "mount", "no-identity", "no-private-directory", "not answering"),
    *("not-private", "not-put-back", "open", "outside-message-roots", "outside-roots", "owner", "private"),
    *("private-inside", "promised-beside", "promised-inside", "refilled", "registry-unreadable", "replaced"),
    *("root", "symlink", "unfinished", "unmade", "volume-inside", "working-directory", OTHER),
)
"""Reasons why an expired file was kept, besides those that name a plug-in."""

REFUSALS = (
    *sorted(
        name
        for name, error in vars(errors).items()
        if isinstance(error, type)
        and issubclass(error, TempfleetError)
        and not issubclass(error, RegistryError | VolumeUnavailable)
    ),
    *("ContentDisallowed", "DecodeError", "Expired", "InvalidTaskError", "Revoked", "TimeLimitExceeded"),
    *("UnknownTask", "WorkerLostError", OTHER),
)
"""Why messages are thrown away: errors of ours and of Celery."""


def failures(stats: VolumeStats, plugins: Sequence[Plugin]) -> dict[str, int]:
    """Kept files by reason."""
    named = [f"{kind}:{plugin.name}" for plugin in plugins for kind in (VETO, FAILED)]
    return _from_zero([*FAILURES, *named], stats.totals_of("kept"), kinds=(f"{VETO}:", f"{FAILED}:"))


def rejected(stats: VolumeStats) -> dict[str, int]:
    """Rejected messages by error."""
    return _from_zero(REFUSALS, stats.totals_of("rejected"))


def plugin_failures(stats: VolumeStats, plugins: Sequence[Plugin]) -> dict[str, int]:
    """Failed calls by plug-in and hook. Those of plug-ins that this process does not have are shown too."""
    named = [breaker.name for plugin in plugins for breaker in plugin.breakers.values()]
    return dict.fromkeys(named, 0) | stats.totals_of("plugin_failed")


def settled(stats: VolumeStats) -> dict[str, int]:
    """Files that left the registry, by outcome."""
    return {word: stats.total(word) for word in LEFT}


def _from_zero(
    words: Sequence[str], totals: Mapping[str, int], *, kinds: tuple[str, ...] = ()
) -> dict[str, int]:
    """*totals*, with 0 for each of *words* that is missing; unlisted words, except those of *kinds*, are OTHER."""
    counts = dict.fromkeys(words, 0)
    for word, count in totals.items():
        name = word if word in counts or word.startswith(kinds or ("\0",)) else OTHER
        counts[name] = counts.get(name, 0) + count
    return counts
