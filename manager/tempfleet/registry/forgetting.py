"""
Forgets hosts that do not come back: their records, their volumes' keys, and their entries in the fleet's lists.

The files are not touched. If their disk is still there, ``adopt`` on it registers them again.

A host may come back at any moment, and a volume's keys and the heartbeats are in different cluster slots. So each step
names the last token of the volume: claims raise it, and so does the first heartbeat of a host that was silent
(``Fleet.heartbeat``). A step with an older token changes nothing. Files that are registered after the beginning stay.
Steps move at most 1,000 records. An interrupted call is repeated; host and volumes are dropped last.

Ephemeral hosts are forgotten by themselves: see ephemeral.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import HostLive, RegistryError, UnknownHost
from ..logs import printable
from .fleet import Fleet
from .keys import Volume
from .reader import RegistryReader
from .stats import VolumeStats


@dataclass(slots=True)
class Forgetting:
    """
    What was, or would be, forgotten of one host, in counts.

    Attributes:
        silent_seconds: since its last heartbeat; None if no worker of it was ever seen.
        forgotten: records.
        left: records that stayed, by reason: ``held``, ``quarantined``, ``leased`` (a process that died has claimed
            them until its lease ends), ``newer`` (they were registered meanwhile).
        is_gone: nothing of the host is left.
    """

    host: str
    silent_seconds: float | None
    volumes: int = 0
    forgotten: int = 0
    left: Counter[str] = field(default_factory=Counter)
    is_gone: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "silent_seconds": None if self.silent_seconds is None else round(self.silent_seconds, 3),
            "volumes": self.volumes,
            "forgotten": self.forgotten,
            "left": dict(self.left),
            "gone": self.is_gone,
        }


def preview_forget(fleet: Fleet, host: str, *, with_kept: bool = False) -> Forgetting:
    """Returns what ``forget`` would do now; changes nothing, and raises as ``forget`` does."""
    report, _, volumes = _begin(fleet, host)
    for volume, stats in fleet.stats(volumes).items():
        recoverable = sum(map(len, fleet.registry(volume).expired_lease_paths())) if stats.leased else 0
        left = _left(stats, with_kept=with_kept, recoverable=recoverable)
        report.left += left
        report.forgotten += max(stats.active - left.total(), 0)
    report.is_gone = not report.left
    return report


def forget(
    fleet: Fleet,
    host: str,
    *,
    with_kept: bool = False,
    progress: Callable[[int], None] = lambda forgotten: None,
    stop: Callable[[], bool] = lambda: False,
) -> Forgetting:
    """
    Drop all records of *host*, and its entries if no record is left. Repeat it after an interruption.

    Args:
        with_kept: also records of held and quarantined files.
        progress: called after each step with the number of records forgotten so far.
        stop: asked before each step.

    Raises:
        UnknownHost: there is nothing of this name.
        HostLive: a worker of the host is live, or the host came back meanwhile; the message says what is forgotten.
        RegistryError: some records may be forgotten; repeat the call for the rest.
    """
    report, beat_ms, volumes = _begin(fleet, host)
    is_gone = True
    for volume in volumes:
        forgetting = _Forgetting(fleet, volume, report, beat_ms)
        for done in forgetting.steps(with_kept=with_kept):
            report.forgotten += done
            progress(report.forgotten)
            if stop():
                return report
        is_gone &= forgetting.finish(with_kept=with_kept)
    if is_gone and not fleet.unlist_host(host, volumes, beat_ms=beat_ms):
        raise _came_back(report)
    report.is_gone = is_gone
    return report


# -- one host


def _begin(fleet: Fleet, host: str) -> tuple[Forgetting, float | None, list[Volume]]:
    """The empty report, the last heartbeat (ms, None if there was none), and the volumes."""
    listed = {listed.name: listed for listed in fleet.hosts()}.get(host)
    volumes = fleet.volumes(host=host)
    if listed is None and not volumes:
        raise UnknownHost(f"There is no host {printable(host)!r}, and no volume of one.", host=host)
    if listed is not None and listed.live:
        raise HostLive(f"A worker of {printable(host)} is live: stop it first.", host=host)
    report = Forgetting(host, None if listed is None else listed.silent_seconds, len(volumes))
    return report, None if listed is None else listed.beat_ms, volumes


def _came_back(report: Forgetting) -> HostLive:
    host = printable(report.host)
    return HostLive(
        f"{host} has come back. {report.forgotten:,} of its records were forgotten before; their files are on its "
        "disk, and tempfleet adopt there registers them again.",
        host=report.host,
    )


def _left(stats: VolumeStats, *, with_kept: bool, recoverable: int = 0) -> Counter[str]:
    """The records that forgetting leaves, by reason."""
    kept = {} if with_kept else {"held": stats.held, "quarantined": stats.quarantined}
    return +Counter({"leased": stats.leased - recoverable, **kept})


class _Forgetting(RegistryReader):
    """The forgetting of one volume."""

    def __init__(self, fleet: Fleet, volume: Volume, report: Forgetting, beat_ms: float | None) -> None:
        super().__init__(fleet.store, volume)
        self.fleet = fleet
        self.report = report
        self.beat_ms = beat_ms
        self.token = self._last_token()
        self.until_ms = self.now_ms()

    def steps(self, *, with_kept: bool) -> Iterator[int]:
        """Forgets the records step by step; yields their number after each step."""
        self._check_silence()
        while True:
            reaped = self.fleet.reap([self.volume])[self.volume]
            if isinstance(reaped, RegistryError):
                raise reaped
            if not reaped.more:
                break
            yield 0
        for page in self.paths():
            left = page
            while left:
                self._check_silence()
                codes = self._step(left, with_kept=with_kept)
                yield codes.count("forgotten")
                left = [path for path, code in zip(left, codes, strict=True) if code == "later"]

    def finish(self, *, with_kept: bool) -> bool:
        """
        Erase the volume if no record is left, or count what is. Returns whether it is erased.

        A registration lists its volume first. If it comes between the two moves, the volume is listed again.
        """
        self._check_silence()
        epoch = self.epoch()
        if self._run("erase", token=self.token):
            self.fleet.unlist(self.volume, epoch=epoch)
            if len(self) == 0:
                return True
            self.fleet.announce(self.volume)
        elif self._last_token() != self.token:
            raise _came_back(self.report)
        stats = self.fleet.stats([self.volume])[self.volume]
        left = _left(stats, with_kept=with_kept)
        left["newer"] += max(stats.active - left.total(), 0)
        self.report.left += left
        return False

    def _step(self, paths: Sequence[str], *, with_kept: bool) -> list[str]:
        more = [os.fsencode(path) for path in paths]
        args = {"token": self.token, "until_ms": self.until_ms, "all_kept": int(with_kept)}
        codes = self._run("forget", more=more, **args)
        if codes == 0:
            raise _came_back(self.report)
        return [code.decode() for code in codes]

    def _last_token(self) -> int:
        return int(self._redis("hget", "meta", "token") or 0)

    def _check_silence(self) -> None:
        """Raises HostLive if the host sent a heartbeat; also for a volume that its worker does not clean."""
        beat = self.store.call(self.store.client.zscore, self.store.fleet_keys["hosts"], self.report.host)
        if beat is not None and beat != self.beat_ms:
            raise _came_back(self.report)
