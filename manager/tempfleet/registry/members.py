"""
The members of a fleet: the list of volumes, and the hosts with their heartbeats.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import HostLive, RegistryError, RegistryFull
from ..logs import logger, printable
from .keys import Volume, VolumeKeys, volumes_of
from .pulse import Host
from .store import Store

ERASED_KEPT = 1000
"""The last erased registries are remembered, so that a host that comes back does not take that for a loss."""


class Members:
    """The volumes and hosts of one Redis. Methods raise the same errors as those of Registry."""

    def __init__(self, store: Store, *, live_seconds: float = 60) -> None:
        self.store = store
        self.live_seconds = live_seconds
        self._returning: set[str] = set()

    def volumes(self, *, host: str | None = None) -> list[Volume]:
        """Every volume that ever had a file, or only those of *host*; sorted."""
        volumes = volumes_of(self._redis("zrange", "volumes", 0, -1))
        return sorted(volume for volume in volumes if host is None or volume.host == host)

    def announce(self, volume: Volume, *, ephemeral_seconds: float | None = None) -> None:
        """
        Add *volume* to the list that sweeps read, before it has a file.

        Args:
            ephemeral_seconds: let its host be forgotten when it has been silent for so long; 0: let it be remembered.
                See ephemeral.py.
        """
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.zadd(self.store.fleet_keys["volumes"], {volume.encode(): 0}, nx=True)
        if ephemeral_seconds:
            period_ms = round(ephemeral_seconds * 1000)
            pipeline.hset(self.store.fleet_keys["ephemeral"], volume.host, period_ms)
        elif ephemeral_seconds is not None:
            self._end_ephemeral(pipeline, volume.host)
        self.store.execute(pipeline)

    def unlist(self, volume: Volume, *, epoch: str) -> None:
        """Take *volume* from the list that sweeps read, because its registry of *epoch* was erased."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.zrem(self.store.fleet_keys["volumes"], volume.encode())
        pipeline.time()
        _, time = self.store.execute(pipeline)
        if not epoch:
            return
        pipeline.zadd(self.store.fleet_keys["erased"], {epoch: self.store.time_of(time)})
        pipeline.zremrangebyrank(self.store.fleet_keys["erased"], 0, -1 - ERASED_KEPT)
        with suppress(RegistryFull):
            # Only a host that comes back misses it: it pauses for ten minutes, as after a loss.
            self.store.execute(pipeline)

    def was_erased(self, epoch: str) -> bool:
        """Whether the registry of *epoch* was erased, because its host was forgotten."""
        return self._redis("zscore", "erased", epoch) is not None

    def unlist_host(self, host: str, volumes: Iterable[Volume], *, beat_ms: float | None) -> bool:
        """
        Drop every entry of a host whose volumes were erased. Returns False, and drops nothing, if it sent a heartbeat
        after *beat_ms*.
        """
        beat = "" if beat_ms is None else beat_ms
        if not self.store.run("drop_host", self.store.fleet_keys, host=host, beat_ms=beat):
            return False
        pipeline = self.store.client.pipeline(transaction=False)
        self._end_ephemeral(pipeline, host)
        for volume in volumes:
            pipeline.zrem(self.store.fleet_keys["waiting"], volume.wake_up)
        self.store.execute(pipeline)
        return True

    def heartbeat(self, host: str) -> int:
        """
        Record that *host* is alive; from the first heartbeat on, sweeps are expected. Returns the time by the Redis
        clock (ms).

        If it was silent until now, the last tokens of its volumes are raised. So a process that is forgetting it stops.
        """
        keys = self.store.fleet_keys
        beat, expected = self.store.run_each(
            [("heartbeat", keys, {"host": host}), ("expect_sweeps", keys, {})]
        )
        if isinstance(beat, RegistryError):
            raise beat
        if isinstance(expected, RegistryError):
            logger.debug("No mark for missing sweeps: %s", expected)
        now_ms, before = beat
        if not before or int(now_ms) - float(before) >= self.live_seconds * 1000:
            self._returning.add(host)
        if host in self._returning:
            for reply in self.store.run_each(
                [("mark", self._keys(volume), {}) for volume in self.volumes(host=host)]
            ):
                if isinstance(reply, RegistryError):
                    raise reply
            self._returning.discard(host)
        return int(now_ms)

    def hosts(self) -> list[Host]:
        """Every host that sent a heartbeat and was not retired since; sorted by name."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["hosts"], 0, -1, withscores=True)
        pipeline.hgetall(self.store.fleet_keys["ephemeral"])
        time, beats, ephemeral = self.store.execute(pipeline)
        return self._hosts(self.store.time_of(time), beats, ephemeral)

    def _hosts(
        self, now_ms: int, beats: Iterable[tuple[bytes, float]], ephemeral: Mapping[bytes, bytes]
    ) -> list[Host]:
        hosts = []
        for name, beat_ms in sorted(beats):
            # A heartbeat from before Redis's clock stepped back may lie far in the future.
            silent_seconds = abs(now_ms - beat_ms) / 1000
            live, period_ms = silent_seconds < self.live_seconds, int(ephemeral.get(name, 0))
            hosts.append(Host(os.fsdecode(name), silent_seconds, live, period_ms / 1000, beat_ms))
        return hosts

    def live_hosts(self) -> set[str]:
        return {host.name for host in self.hosts() if host.live}

    def retire(self, host: str, *, force: bool = False) -> bool:
        """
        Remove a host until one of its workers sends a heartbeat again. Its records stay, also if it was ephemeral;
        see ``forget``. Returns False if the host was unknown.

        Raises:
            HostLive: a worker of the host is live, and *force* is False.
        """
        if not force and host in self.live_hosts():
            raise HostLive(
                f"A worker of {printable(host)} is live: stop it first, or use --force.", host=host
            )
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.zrem(self.store.fleet_keys["hosts"], host)
        self._end_ephemeral(pipeline, host)
        was_listed, *_ = self.store.execute(pipeline)
        return bool(was_listed)

    def _end_ephemeral(self, pipeline: Any, host: str) -> None:
        for name in ("ephemeral", "silence"):
            pipeline.hdel(self.store.fleet_keys[name], host)

    def _keys(self, volume: Volume) -> VolumeKeys:
        return VolumeKeys(self.store.namespace, volume)

    def _redis(self, command: str, name: str, *args: Any, **options: Any) -> Any:
        """The reply to one command on the fleet's key *name*."""
        function = getattr(self.store.client, command)
        return self.store.call(function, self.store.fleet_keys[name], *args, **options)
