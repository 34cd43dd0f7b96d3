"""
What the fleet's own keys tell: hosts, sweeps and the memory of Redis.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

QUIET_SECONDS = 86400
"""Messages that were thrown away are shown for so long after the last one with the same reason."""


@dataclass(frozen=True, slots=True)
class Host:
    """
    A host that has, or had, a worker.

    Attributes:
        silent_seconds: the time since its last heartbeat, by the Redis clock.
        ephemeral_seconds: after how long a silence it is forgotten; 0 if it is not ephemeral.
        beat_ms: its last heartbeat.
    """

    name: str
    silent_seconds: float
    live: bool
    ephemeral_seconds: float = 0
    beat_ms: float = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """
    The report of one sweep.

    Attributes:
        host: the host of the worker that ran it.
        sent: volumes whose host got a message to delete due files.
        recovered: files taken back from expired claims.
        silent_due: due files that wait until their silent host returns.
        forgotten: records of ephemeral hosts that were silent for too long.
    """

    host: str
    seconds: float
    volumes: int
    due: int
    sent: int
    recovered: int
    silent_due: int
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of the server behind the registry.

    Attributes:
        max_bytes: 0 is no limit.
    """

    used_bytes: int
    max_bytes: int

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Memory | None:
        """From the memory section of INFO; None if it is not there."""
        if "used_memory" not in info:
            return None
        return cls(int(info["used_memory"]), int(info.get("maxmemory", 0)))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Messages that were thrown away: the name of an error, their number, and the time of the last (Redis clock)."""

    reason: str
    count: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """
    Whether the fleet works, at one time.

    Attributes:
        now_ms: the Redis clock.
        hosts: as ``Fleet.hosts`` returns them.
        sweeps: as ``Fleet.sweeps`` returns them, the newest first.
        expected_ms: since when a sweep is expected: the end of the last one, or the first heartbeat of the fleet; None
            without both.
        rejected: the messages that were thrown away in the last day, by reason.
    """

    now_ms: int
    hosts: Sequence[Host]
    sweeps: Sequence[tuple[int, Sweep]]
    expected_ms: int | None
    rejected: Sequence[Rejected] = ()

    @property
    def swept_ms(self) -> int | None:
        """The end of the last sweep; None if none was ever recorded."""
        return self.sweeps[0][0] if self.sweeps else None

    @property
    def unswept_seconds(self) -> float:
        """How long a sweep has been missing; 0 if none is expected."""
        return 0.0 if self.expected_ms is None else max(self.now_ms - self.expected_ms, 0) / 1000


def sweeps_of(reports: Iterable[bytes]) -> list[tuple[int, Sweep]]:
    """Without the mark of scripts/expect_sweeps.lua, whose report is empty."""
    lines = [report.partition(b" ") for report in reports]
    return [(int(end), Sweep(**json.loads(report))) for end, _, report in lines if report]


def rejected_of(now_ms: int, fields: Mapping[bytes, bytes]) -> list[Rejected]:
    """From the fleet's hash of rejected messages, sorted by reason."""
    rejected = []
    for reason, text in sorted(fields.items()):
        last_ms, count = map(int, text.split())
        if now_ms - last_ms < QUIET_SECONDS * 1000:
            rejected.append(Rejected(reason.decode(), count, last_ms))
    return rejected
