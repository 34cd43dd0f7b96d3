"""
Forgets ephemeral hosts (TEMP_FILE_HOST_EPHEMERAL) that have been silent for long enough. The sweep of any worker calls
it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from ..errors import HostLive, RegistryError, UnknownHost
from ..logs import logger, printable
from .fleet import Fleet
from .forgetting import Forgetting, forget
from .keys import Volume
from .pulse import Host
from .stats import VolumeStats

LOOKS = 4
"""One look at a silent host counts for at most this part of its period, however long the look before was ago."""


def forget_silent(
    fleet: Fleet, hosts: Iterable[Host], stats: Mapping[Volume, VolumeStats], *, budget_seconds: float
) -> list[Forgetting]:
    """
    Forget the ephemeral hosts whose time is over. Returns what it did.

    Silence counts only while sweeps look: each look adds the time since the look before, and at most a quarter of the
    host's period. So hosts do not vanish because Redis was away or its clock jumped. A heartbeat, a claim or a
    registration of the host begins it anew.

    Args:
        hosts, stats: as the sweep read them.
        budget_seconds: the rest is forgotten by the next sweep.
    """
    silent = [host for host in hosts if host.ephemeral_seconds and not host.live]
    if not silent:
        return []
    end = time.monotonic() + budget_seconds
    try:
        over = _look_at(fleet, silent, stats)
    except RegistryError as exc:
        logger.error("Could not record how long ephemeral hosts have been silent: %s", exc)
        return []
    reports: list[Forgetting] = []
    for host in over:
        if time.monotonic() < end:
            reports += _forget(fleet, host, end)
    return reports


def _forget(fleet: Fleet, host: Host, end: float) -> list[Forgetting]:
    """Returns the report; nothing if the host was not forgotten."""
    try:
        report = forget(fleet, host.name, with_kept=True, stop=lambda: time.monotonic() >= end)
    except (HostLive, UnknownHost) as exc:
        logger.warning("The ephemeral host was not forgotten: %s", exc)
        return []
    except RegistryError as exc:
        logger.error("Could not forget the ephemeral host %s: %s", printable(host.name), exc)
        return []
    logger.info(
        "Forgot %d records of the ephemeral host %s, which is silent%s",
        report.forgotten,
        printable(host.name),
        "" if report.is_gone else "; the next sweep goes on",
    )
    return [report]


def _look_at(fleet: Fleet, silent: Sequence[Host], stats: Mapping[Volume, VolumeStats]) -> list[Host]:
    """Record one look at silent ephemeral hosts; returns those whose period is over, the longest silent first."""
    store = fleet.store
    key = store.fleet_keys["silence"]
    pipeline = store.client.pipeline(transaction=False)
    pipeline.time()
    pipeline.hmget(key, [os.fsencode(host.name) for host in silent])
    time_now, stored = store.execute(pipeline)
    now_ms = store.time_of(time_now)
    looks, over = list[str | bytes](), []
    for host, text in zip(silent, stored, strict=True):
        signs = _signs_of_life(host, stats)
        silent_ms = 0
        with suppress(ValueError):
            before_ms, seen_ms, seen_signs = json.loads(text or b"[0, 0, 0]")
            if seen_signs == signs:
                most_ms = round(host.ephemeral_seconds * 1000 / LOOKS)
                silent_ms = before_ms + min(max(now_ms - seen_ms, 0), most_ms)
        looks += [os.fsencode(host.name), json.dumps([silent_ms, now_ms, signs])]
        if silent_ms >= host.ephemeral_seconds * 1000:
            over.append(host)
    store.run("record_silence", store.fleet_keys, more=looks)
    return sorted(over, key=lambda host: -host.silent_seconds)


def _signs_of_life(host: Host, stats: Mapping[Volume, VolumeStats]) -> str:
    """A digest of what changes if the host sends a heartbeat, claims files or registers some."""
    volumes = sorted(
        [volume.base_dir, found.meta.get("token", ""), found.total("registered")]
        for volume, found in stats.items()
        if volume.host == host.name
    )
    text = json.dumps([host.beat_ms, volumes])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
