"""
What a volume counts as a whole, and the fields of its meta: neither changes the state of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from .reader import RegistryReader
from .stats import bucket_of


class TotalsRegistry(RegistryReader):
    """The totals and the meta of one volume. Registry lists the errors that every method may raise."""

    def set_meta(self, field: str, value: str) -> None:
        """Set a field of meta: DISK, FULL, NAMESAKES, NOT_SERVED or UNAVAILABLE. "" removes it."""
        if value:
            self._redis("hset", "meta", field, value)
        else:
            self._redis("hdel", "meta", field)

    def observe(
        self, totals: Mapping[str, int] | None = None, *, histogram: str = "", seconds: float = 0
    ) -> None:
        """Add to totals, and add *seconds* to a histogram: "duration" (of a clean-up), "sweep", or "" for none."""
        more = list(chain.from_iterable((totals or {}).items()))
        bucket = bucket_of(histogram, seconds) if histogram else ""
        self._run("observe", more=more, name=histogram, bucket=bucket, ms=round(seconds * 1000))

    def record_plugin(self, plugin: str, *, failures: int, reason: str, hold_ms: int) -> None:
        """Count failures of a plug-in, and publish for *hold_ms* why it is switched off; "" if it is not."""
        self._run("record_plugin", name=plugin, reason=reason, hold_ms=hold_ms, failures=failures)
