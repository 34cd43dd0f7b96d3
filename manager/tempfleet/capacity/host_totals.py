"""The files and bytes that all volumes of a host hold together."""

from __future__ import annotations

from ..cleanup import boot_seconds
from ..records import NewFile
from ..registry import Fleet
from ..settings import Settings

FRESH_SECONDS = 1.0
"""How long the totals of a host are used before they are read again."""


class HostTotals:
    """The totals of one host: as they were read a moment ago, plus what this process registered since."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self.fleet = fleet
        self.host = settings.host
        self.limits = {"files": settings.host_max_files, "bytes": settings.host_max_bytes}
        self._totals = {"files": 0, "bytes": 0}
        self._added = {"files": 0, "bytes": 0}
        self._read_at = float("-inf")

    def exceeded_by(self, file: NewFile) -> str:
        """Returns the limit that *file* would exceed, or "" after counting it as registered."""
        if self._is_stale():
            self.forget()
            self._read()
        growth = {"files": 1, "bytes": file.size_bytes}
        for name, limit in self.limits.items():
            if limit and growth[name] and self._totals[name] + self._added[name] + growth[name] > limit:
                return f"host_{name}"
        for name in growth:
            self._added[name] += growth[name]
        return ""

    def exceeded(self) -> dict[str, int]:
        """Returns the totals, read now, that are above their limits."""
        self._read()
        return {
            name: self._totals[name]
            for name, limit in self.limits.items()
            if limit and self._totals[name] > limit
        }

    def forget(self) -> None:
        """Read the totals again at the next call."""
        self._read_at = float("-inf")

    def _is_stale(self) -> bool:
        if boot_seconds() > self._read_at + FRESH_SECONDS:
            return True
        return any(limit and self._added[name] > limit / 100 for name, limit in self.limits.items())

    def _read(self) -> None:
        self._read_at = boot_seconds()
        volumes = self.fleet.stats(self.fleet.volumes(host=self.host)).values()
        self._totals = {
            "files": sum(stats.active - stats.total("aside") for stats in volumes),
            "bytes": sum(stats.bytes - stats.total("aside_bytes") for stats in volumes),
        }
        self._added = {"files": 0, "bytes": 0}
