"""
The fleet's record of jumps of Redis's clock, its copy in each volume, and pauses.

All hosts of a fleet share one record. So a jump that several hosts notice is added once: a change names the last one
that its maker has seen, and is refused if there was another since. Volumes are in other cluster slots; each has a copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from ..errors import RegistryError
from ..logs import logger
from .connection import translated
from .keys import Volume, VolumeKeys
from .store import Store

PAUSE_SECONDS = 600
"""How long no expired file is deleted after Redis came back older than it was, or if it is ahead at a first start."""

AGAIN_SECONDS = 86400
"""A pause is not repeated so soon, because a host that cannot keep its record starts for the first time each time."""


class Jumps(NamedTuple):
    """
    The jumps of Redis's clock until now.

    Attributes:
        seq: the number of the last change of this record.
        jumped_ms: their sum. Redis's time without it goes as all other clocks do.
        slack_ms: how much of it delays deadlines: what Redis stepped back or a person accepted does not.
    """

    seq: int = 0
    jumped_ms: int = 0
    slack_ms: int = 0


class ClockReading(NamedTuple):
    """
    One look at the clock, and at one volume.

    Attributes:
        copied_seq: the change that the volume has a copy of.
        last_token, epoch: of the volume; 0 and "" if there is none.
        run_id: of the server, another one after each start; "" if an ACL forbids reading it.
    """

    now_ms: int
    jumps: Jumps
    copied_seq: int
    last_token: int
    epoch: str
    run_id: str


class FleetClock:
    """Reads and changes the record of jumps. Methods raise the same errors as those of Registry."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, volume: Volume) -> ClockReading:
        """Costs one round trip."""
        meta = VolumeKeys(self.store.namespace, volume)["meta"]
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hmget(self.store.fleet_keys["clock"], Jumps._fields)
        pipeline.hmget(meta, "clock_seq", "token", "epoch")
        pipeline.info("server")
        *replies, info = self.store.execute(pipeline, raise_on_error=False)
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise translated(reply, self.store.address)
        time, jumps, (copied, token, epoch) = replies
        return ClockReading(
            self.store.time_of(time),
            _jumps(jumps),
            int(copied or 0),
            int(token or 0),
            (epoch or b"").decode(),
            str(info.get("run_id", "")) if isinstance(info, dict) else "",
        )

    def mark(self, volume: Volume) -> int:
        """Raise the last token of *volume*, and return it: any older data of Redis have a lower one. 0 without data."""
        return int(self.store.run("mark", VolumeKeys(self.store.namespace, volume)))

    def change(self, seen: Jumps, *, jumped_ms: int, slack_ms: int) -> bool:
        """Replace the record *seen*. Returns False if it was changed since; then nothing is changed."""
        keys = self.store.fleet_keys
        changed = self.store.run("change_clock", keys, seq=seen.seq, jumped_ms=jumped_ms, slack_ms=slack_ms)
        return bool(changed)

    def accept(self, volumes: Iterable[Volume]) -> int:
        """End the slack of all volumes, as a person says that the clock is right. Returns how much it was (ms)."""
        while True:
            seen = self.jumps()
            jumps = Jumps(seen.seq + 1, seen.jumped_ms, 0)
            if self.change(seen, jumped_ms=jumps.jumped_ms, slack_ms=0):
                self.copy(jumps, volumes)
                return seen.slack_ms

    def jumps(self) -> Jumps:
        """The fleet's record."""
        return _jumps(self.store.call(self.store.client.hmget, self.store.fleet_keys["clock"], Jumps._fields))

    def copy(self, jumps: Jumps, volumes: Iterable[Volume]) -> None:
        """Copy the record to volumes. A volume whose copy fails gets it from its own host, which compares them."""
        self._run_each("copy_clock", volumes, jumps._asdict())

    def pause(self, reason: str, volumes: Iterable[Volume], *, last_token: int = 0) -> bool:
        """Let no file expire for PAUSE_SECONDS. Returns False if no volume was paused, as scripts/pause.lua says."""
        args = {"pause_ms": PAUSE_SECONDS * 1000, "again_ms": AGAIN_SECONDS * 1000}
        return any(self._run_each("pause", volumes, {**args, "reason": reason, "last_token": last_token}))

    def _run_each(self, script: str, volumes: Iterable[Volume], args: dict[str, Any]) -> list[bool]:
        volumes = list(volumes)
        replies = self.store.run_each(
            [(script, VolumeKeys(self.store.namespace, volume), args) for volume in volumes]
        )
        for volume, reply in zip(volumes, replies, strict=True):
            if isinstance(reply, RegistryError):
                logger.error("Could not change the clock of %s: %s", volume, reply)
        return [reply == 1 for reply in replies]


def _jumps(values: Iterable[bytes | None]) -> Jumps:
    return Jumps(*(int(value or 0) for value in values))
