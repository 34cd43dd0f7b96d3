"""The doctor's checks of hosts, plug-ins and eviction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..formatting import counted, duration
from ..logs import printable
from ..plugins import installed
from ..registry import FULL, Fleet, Registry, VolumeStats
from ..settings import Settings
from .finding import Finding


def check_eviction(stats: VolumeStats) -> Iterator[Finding]:
    if stats.meta.get(FULL):
        yield Finding.warning(
            "eviction",
            "The disk is above its high mark, and no other file can be evicted",
            "Make room by hand. Held files, files in use and unregistered files are never evicted.",
        )


def check_plugins(stats: VolumeStats, settings: Settings) -> Iterator[Finding]:
    """Plug-ins that a process of the volume has switched off, and plug-ins that cannot be loaded here."""
    problems = {
        note.plugin: f"is switched off in a process here ({note.hook}: {note.said})"
        for note in stats.plugins_off
    }
    for plugin in installed(settings):
        if plugin.name not in problems and (failures := plugin.info().failures):
            problems[plugin.name] = f"does not work here ({'; '.join(failures)})"
    for name, problem in problems.items():
        yield Finding.error(
            "plug-ins",
            f"{name} {problem}",
            "Repair it and restart the workers, uninstall it, or leave it out of TEMP_FILE_PLUGINS.",
        )
    if not problems:
        yield Finding.ok("plug-ins", "No plug-in is switched off")


def check_hosts(registry: Registry, settings: Settings) -> Iterator[Finding]:
    fleet = Fleet(registry.store, live_seconds=settings.host_live_seconds)
    hosts = {host.name: host for host in fleet.hosts()}
    files: Counter[str] = Counter()
    for volume, stats in fleet.stats(fleet.volumes()).items():
        files[volume.host] += stats.active
    silent = [host for host in hosts.values() if not host.live]
    for host in silent:
        yield Finding.warning(
            "hosts",
            f"{printable(host.name)} has been silent for {duration(host.silent_seconds)}; "
            f"{counted(files[host.name], 'file waits', 'files wait')} there",
            f"Start its worker. If the host does not come back, run tempfleet hosts retire {printable(host.name)}.",
        )
    unknown = {name: n for name, n in files.items() if n and name not in hosts}
    for name, n in unknown.items() if hosts else ():
        yield Finding.warning(
            "hosts",
            f"{counted(n, 'file is', 'files are')} registered for {printable(name)}, but no worker of it has ever run",
            f"Start a worker there. If the name is wrong, unregister the files: tempfleet --host {printable(name)} ls.",
        )
    if not (silent or (hosts and unknown)):
        yield Finding.ok("hosts", f"{counted(len(hosts), 'host is', 'hosts are')} live, and none is silent")
