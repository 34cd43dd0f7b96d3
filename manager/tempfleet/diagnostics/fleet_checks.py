"""The doctor's checks of hosts, plug-ins and eviction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..formatting import counted, duration
from ..logs import printable
from ..plugins import installed
from ..registry import FULL, Fleet, Registry, VolumeStats
from ..settings import Settings
from .finding import Finding, Level


def check_eviction(stats: VolumeStats) -> Iterator[Finding]:
    if stats.meta.get(FULL):
        yield Finding(
            "eviction", Level.WARNING, "The disk is above its high mark, and nothing more can be evicted",
            "Make room by hand: what is held, in use or not registered is never evicted.",
        )  # fmt: skip


def check_plugins(stats: VolumeStats, settings: Settings) -> Iterator[Finding]:
    """Those that a worker has switched off, and those that do not even load here."""
    off = {
        note.plugin: f"is switched off in a process here ({note.hook}: {note.said})"
        for note in stats.plugins_off
    }
    for plugin in installed(settings):
        if plugin.name not in off and (failures := plugin.info().failures):
            off[plugin.name] = f"does not work here ({'; '.join(failures)})"
    for name, said in off.items():
        yield Finding(
            "plug-ins", Level.ERROR, f"{name} {said}",
            "Mend it and restart the workers, remove it, or leave it out of TEMP_FILE_PLUGINS.",
        )  # fmt: skip
    if not off:
        yield Finding("plug-ins", Level.OK, "No plug-in is switched off")


def check_hosts(registry: Registry, settings: Settings) -> Iterator[Finding]:
    fleet = Fleet(registry.store, live_seconds=settings.host_live_seconds)
    hosts = {host.name: host for host in fleet.hosts()}
    files: Counter[str] = Counter()
    for volume, stats in fleet.stats(fleet.volumes()).items():
        files[volume.host] += stats.active
    silent = [host for host in hosts.values() if not host.live]
    for host in silent:
        yield Finding(
            "hosts", Level.WARNING,
            f"{printable(host.name)} has been silent for {duration(host.silent_seconds)}; "
            f"{counted(files[host.name], 'file waits', 'files wait')} there",
            f"Start its worker, or tempfleet hosts retire {printable(host.name)}.",
        )  # fmt: skip
    unknown = {name: n for name, n in files.items() if n and name not in hosts}
    for name, n in unknown.items() if hosts else ():
        yield Finding(
            "hosts", Level.WARNING,
            f"{counted(n, 'file is', 'files are')} registered for {printable(name)}, and no worker of it was ever seen",
            f"Start a worker there; or is its name wrong? tempfleet --host {printable(name)} ls, and unregister them.",
        )  # fmt: skip
    if not (silent or (hosts and unknown)):
        yield Finding(
            "hosts", Level.OK, f"{counted(len(hosts), 'host is', 'hosts are')} live, none is silent"
        )
