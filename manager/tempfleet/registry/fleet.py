"""
What belongs to no single volume: which volumes there are, which hosts are alive, what waits in the queues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from ..errors import HostLive, RegistryError
from ..logs import logger, printable
from ..settings import MAX_BATCH
from .keys import Volume, VolumeKeys, volume_key
from .registry import Registry
from .stats import VolumeStats, parse_stats
from .store import Store
from .values import Reaped


@dataclass(frozen=True, slots=True)
class Host:
    """
    A host that has, or had, a worker.

    Attributes:
        silent_seconds: since its last heartbeat, by the Redis clock.
    """

    name: str
    silent_seconds: float
    live: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """
    What one sweep found and did.

    Attributes:
        host: whose worker ran it.
        sent: volumes whose host was told to delete.
        silent_due: due files that wait for a host to return.
        recovered: files taken back from claims that had died.
    """

    host: str
    seconds: float
    volumes: int
    due: int
    sent: int
    recovered: int
    silent_due: int


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of the server behind the registry.

    Attributes:
        max_bytes: 0 is no limit.
    """

    used_bytes: int
    max_bytes: int


SWEEPS_KEPT = 20


class Fleet:
    """Discovery and heartbeats. Methods raise as Registry's do."""

    def __init__(self, store: Store, *, live_seconds: float = 60) -> None:
        self.store = store
        self.live_seconds = live_seconds

    def registry(self, volume: Volume) -> Registry:
        return Registry(self.store, volume)

    def volumes(self, *, host: str | None = None) -> list[Volume]:
        """Every volume that ever had a file, of *host* if given; sorted."""
        volumes = filter(None, map(_volume, self._redis("zrange", "volumes", 0, -1)))
        return sorted(volume for volume in volumes if host is None or volume.host == host)

    def announce(self, volume: Volume) -> None:
        """Make *volume* known to sweeps before it has a file."""
        self._redis("zadd", "volumes", {volume.encode(): 0}, nx=True)

    def heartbeat(self, host: str) -> int:
        """Say that *host* is alive; the registry's clock (ms)."""
        return int(self.store.run("heartbeat", self.store.fleet_keys, host=host))

    def hosts(self) -> list[Host]:
        """Every host that has sent a heartbeat and was not retired; sorted by name."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["hosts"], 0, -1, withscores=True)
        time, beats = self.store.call(pipeline.execute)
        now_ms = self._now_ms(time)
        hosts = []
        for name, beat_ms in sorted(beats):
            silent = max(now_ms - beat_ms, 0) / 1000
            hosts.append(Host(os.fsdecode(name), silent, silent < self.live_seconds))
        return hosts

    def live_hosts(self) -> set[str]:
        return {host.name for host in self.hosts() if host.live}

    def retire(self, host: str, *, force: bool = False) -> bool:
        """
        Forget a host's heartbeats: it is unknown until a worker of it speaks again. Its records stay. False when it
        was not known.

        Raises:
            HostLive: a worker of it is live, and *force* was not said.
        """
        if not force and host in self.live_hosts():
            raise HostLive(
                f"A worker of {printable(host)} is live: stop it first, or say --force.", host=host
            )
        return bool(self._redis("zrem", "hosts", host))

    def reap(self, volumes: Iterable[Volume]) -> dict[Volume, Reaped | RegistryError]:
        """Reap every volume once, in one round trip."""
        asked = list(volumes)
        answers = self.store.run_each(
            [("reap", self._keys(volume), {"limit": MAX_BATCH}) for volume in asked]
        )
        return {
            volume: answer if isinstance(answer, RegistryError) else Reaped.of(answer)
            for volume, answer in zip(asked, answers, strict=True)
        }

    def stats(self, volumes: Iterable[Volume]) -> dict[Volume, VolumeStats]:
        """The stats of every volume, in one round trip."""
        asked = list(volumes)
        answers = self.store.run_each([("stats", self._keys(volume), {}) for volume in asked])
        for answer in answers:
            if isinstance(answer, RegistryError):
                raise answer
        return {volume: parse_stats(answer) for volume, answer in zip(asked, answers, strict=True)}

    def record_sweep(self, sweep: Sweep) -> None:
        """Keep what a sweep did, for people to look at; only the last ones stay."""
        report = json.dumps(asdict(sweep))
        self.store.run("swept", self.store.fleet_keys, keep=SWEEPS_KEPT, report=report)

    def sweeps(self) -> tuple[int, list[tuple[int, Sweep]]]:
        """The registry's clock (ms), and the last sweeps with the instants (ms) that they ended at; newest first."""
        pipeline = self.store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.store.fleet_keys["sweeps"], 0, -1, desc=True)
        time, notes = self.store.call(pipeline.execute)
        parts = [note.partition(b" ") for note in notes]
        return self._now_ms(time), [(int(at), Sweep(**json.loads(report))) for at, _, report in parts]

    def forecast(
        self, volumes: Iterable[Volume], *, step_seconds: float, steps: int
    ) -> dict[Volume, list[int]]:
        """
        How many files of each volume fall due in each of *steps* steps from now; what is due already is not in it.
        One round trip after the one that asks the time; *steps* counts for each volume.
        """
        asked = list(volumes)
        now_ms = self._now_ms(self.store.call(self.store.client.time))
        edges = [now_ms + round(step * step_seconds * 1000) for step in range(steps + 1)]
        pipeline = self.store.client.pipeline(transaction=False)
        for volume in asked:
            key = volume_key(self.store.namespace, volume, "registry")
            for low, high in pairwise(edges):
                pipeline.zcount(key, f"({low}", high)
        counts = self.store.call(pipeline.execute) if asked else []
        return {volume: counts[i * steps : (i + 1) * steps] for i, volume in enumerate(asked)}

    def memory(self) -> Memory | None:
        """How much of its memory Redis has used; None where it may not say."""
        said = self.store.memory()
        if "used_memory" not in said:
            return None
        return Memory(int(said["used_memory"]), int(said.get("maxmemory", 0)))

    def mark_waiting(self, message: str) -> bool:
        """Note that *message* waits in a queue; False when the last one of its kind was not taken yet."""
        return bool(self._redis("zadd", "waiting", {message: 0}, nx=True, repeat=False))

    def mark_taken(self, message: str) -> None:
        """Note that *message* was taken from its queue."""
        self._redis("zrem", "waiting", message)

    def _now_ms(self, time: tuple[int, int]) -> int:
        now_ms = self.store.clock()
        return time[0] * 1000 + time[1] // 1000 if now_ms is None else now_ms

    def _keys(self, volume: Volume) -> VolumeKeys:
        return VolumeKeys(self.store.namespace, volume)

    def _redis(self, command: str, name: str, *args: Any, **options: Any) -> Any:
        """The answer to one command on the fleet's key *name*."""
        function = getattr(self.store.client, command)
        return self.store.call(function, self.store.fleet_keys[name], *args, **options)


def _volume(member: bytes) -> Volume | None:
    """One damaged name hides no other volume."""
    try:
        return Volume.decode(member)
    except ValueError as exc:
        logger.warning("In the list of volumes: %s", exc)
        return None
