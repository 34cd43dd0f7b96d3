"""What all volumes of a host hold together."""

from __future__ import annotations

import time

from ..records import NewFile
from ..registry import Fleet
from ..settings import Settings

FRESH_SECONDS = 1.0
"""For how long a host's totals are believed."""


class HostTotals:
    """What is registered on one host, in all its volumes: as of a moment ago, and what we registered since."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self.fleet = fleet
        self.host = settings.host
        self.most = {"files": settings.host_max_files, "bytes": settings.host_max_bytes}
        self._known = {"files": 0, "bytes": 0}
        self._since = {"files": 0, "bytes": 0}
        self._looked = float("-inf")

    def broken_by(self, file: NewFile) -> str:
        """The limit that *file* would break, "" for none; then it counts as registered."""
        if self._is_stale():
            self.forget()
            self._look()
        growth = {"files": 1, "bytes": file.size_bytes}
        for name, most in self.most.items():
            if most and growth[name] and self._known[name] + self._since[name] + growth[name] > most:
                return f"host_{name}"
        for name in growth:
            self._since[name] += growth[name]
        return ""

    def beyond(self) -> dict[str, int]:
        """The totals, looked up now, that are above their limit."""
        self._look()
        return {
            name: self._known[name] for name, most in self.most.items() if most and self._known[name] > most
        }

    def forget(self) -> None:
        """Have the totals looked up again."""
        self._looked = float("-inf")

    def _is_stale(self) -> bool:
        if time.monotonic() > self._looked + FRESH_SECONDS:
            return True
        return any(most and self._since[name] > most / 100 for name, most in self.most.items())

    def _look(self) -> None:
        self._looked = time.monotonic()
        found = self.fleet.stats(self.fleet.volumes(host=self.host)).values()
        self._known = {
            "files": sum(stats.active - stats.total("aside") for stats in found),
            "bytes": sum(stats.bytes - stats.total("aside_bytes") for stats in found),
        }
        self._since = {"files": 0, "bytes": 0}
