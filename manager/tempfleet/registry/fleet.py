"""
The data that belongs to no single volume: members (members.py), sweeps, waiting messages; and all volumes at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

import redis

from ..errors import RegistryError
from ..settings import MAX_BATCH
from .connection import translated
from .keys import SLACK, Volume, volume_key
from .members import Members
from .pulse import QUIET_SECONDS, Host, Memory, Pulse, Sweep, rejected_of, sweeps_of
from .registry import Registry
from .stats import VolumeStats, parse_stats
from .values import UNKNOWN, Horizon, Inside, Reaped

SWEEPS_KEPT = 20


class Fleet(Members):
    """Every volume and host of one Redis. Methods raise the same errors as those of Registry."""

    def registry(self, volume: Volume) -> Registry:
        return Registry(self.store, volume)

    def pulse(self) -> Pulse:
        """The hosts, the last sweeps and what was thrown away, in one round trip."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["hosts"], 0, -1, withscores=True)
        pipeline.hgetall(self.store.fleet_keys["ephemeral"])
        pipeline.zrange(self.store.fleet_keys["sweeps"], 0, -1, desc=True)
        pipeline.hgetall(self.store.fleet_keys["rejected"])
        time, beats, ephemeral, reports, rejected = self.store.execute(pipeline)
        now_ms = self.store.time_of(time)
        sweeps = sweeps_of(reports)
        expected_ms = sweeps[0][0] if sweeps else int(reports[0].partition(b" ")[0]) if reports else None
        hosts = self._hosts(now_ms, beats, ephemeral)
        return Pulse(now_ms, hosts, sweeps, expected_ms, rejected_of(now_ms, rejected))

    def start(self) -> list[Host]:
        """
        Refuse a Redis that may evict our keys, as ``Store.check_policy``. Returns the hosts, read in the same round
        trip; no host if an ACL forbids that.
        """
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.info("memory")
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["hosts"], 0, -1, withscores=True)
        replies = self.store.execute(pipeline, raise_on_error=False)
        for reply in replies:
            if isinstance(reply, redis.ConnectionError):
                raise translated(reply, self.store.address)
        info, time, beats = replies
        self.store.refuse_eviction(self.store.memory_of(info))
        is_known = not isinstance(time, Exception) and not isinstance(beats, Exception)
        return self._hosts(self.store.time_of(time), beats, {}) if is_known else []

    def reap(
        self, volumes: Iterable[Volume], *, horizon: Horizon = UNKNOWN
    ) -> dict[Volume, Reaped | RegistryError]:
        """Reap every volume once, in one round trip. A volume whose script failed gets the error as its value."""
        volumes = list(volumes)
        replies = self.store.run_each(
            [("reap", self._keys(volume), {"limit": MAX_BATCH, **horizon.times}) for volume in volumes]
        )
        return {
            volume: reply if isinstance(reply, RegistryError) else Reaped.of(reply)
            for volume, reply in zip(volumes, replies, strict=True)
        }

    def stats(self, volumes: Iterable[Volume]) -> dict[Volume, VolumeStats]:
        """The stats of every volume, in one round trip."""
        volumes = list(volumes)
        replies = self.store.run_each([("stats", self._keys(volume), {}) for volume in volumes])
        for reply in replies:
            if isinstance(reply, RegistryError):
                raise reply
        return {volume: parse_stats(reply) for volume, reply in zip(volumes, replies, strict=True)}

    def inside(
        self, volumes: Sequence[Volume], paths: Sequence[str], *, horizon: Horizon = UNKNOWN
    ) -> dict[Volume, list[Inside] | RegistryError]:
        """
        The registered files among *paths* (at most 1000) in each volume, in one round trip. A volume whose script
        failed gets the error as its value.
        """
        replies = self.store.run_each(
            [("inside", self._keys(volume), horizon.times) for volume in volumes],
            more=[os.fsencode(path) for path in paths],
        )
        return {
            volume: reply if isinstance(reply, RegistryError) else Inside.of(reply, paths)
            for volume, reply in zip(volumes, replies, strict=True)
        }

    def record_sweep(self, sweep: Sweep) -> None:
        """Store the report of a sweep. Redis keeps the last SWEEPS_KEPT reports."""
        report = json.dumps(asdict(sweep))
        self.store.run("record_sweep", self.store.fleet_keys, keep=SWEEPS_KEPT, report=report)

    def record_rejected(self, reasons: Mapping[str, int]) -> None:
        """Record messages that were thrown away, by reason, for a day."""
        more = [argument for entry in reasons.items() for argument in entry]
        quiet_ms = QUIET_SECONDS * 1000
        self.store.run("record_rejected", self.store.fleet_keys, more=more, quiet_ms=quiet_ms)

    def sweeps(self) -> tuple[int, list[tuple[int, Sweep]]]:
        """The Redis clock (ms), and the last sweeps, each with the time of its end (ms); the newest first."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["sweeps"], 0, -1, desc=True)
        time, reports = self.store.execute(pipeline)
        return self.store.time_of(time), sweeps_of(reports)

    def forecast(
        self, volumes: Iterable[Volume], *, step_seconds: float, steps: int
    ) -> dict[Volume, list[int]]:
        """
        For each volume, the number of files that fall due in each of *steps* steps from now, without those already
        due. Costs two round trips, and *steps* commands for each volume.
        """
        volumes = list(volumes)
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        for volume in volumes:
            pipeline.hget(volume_key(self.store.namespace, volume, "meta"), SLACK)
        time, *slacks = self.store.execute(pipeline)
        pipeline = self.store.client.pipeline(transaction=False)
        for volume, slack in zip(volumes, slacks, strict=True):
            past_ms = self.store.time_of(time) - int(slack or 0)
            edges = [past_ms + round(step * step_seconds * 1000) for step in range(steps + 1)]
            key = volume_key(self.store.namespace, volume, "registry")
            for low, high in pairwise(edges):
                pipeline.zcount(key, f"({low}", high)
        counts = self.store.execute(pipeline) if volumes else []
        return {volume: counts[i * steps : (i + 1) * steps] for i, volume in enumerate(volumes)}

    def memory(self) -> Memory | None:
        """The memory that Redis uses; None if an ACL forbids reading it."""
        return Memory.of(self.store.memory())

    def mark_waiting(self, message: str) -> bool:
        """Record that *message* waits in a queue. Returns False if the previous one still waits."""
        return bool(self._redis("zadd", "waiting", {message: 0}, nx=True, repeat=False))

    def mark_taken(self, message: str) -> None:
        """Record that a worker took *message* from its queue."""
        self._redis("zrem", "waiting", message)
