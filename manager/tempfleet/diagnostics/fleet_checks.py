"""The doctor's checks of hosts and plug-ins: the list of problems, each as a finding."""

from __future__ import annotations

from collections.abc import Iterator

from ..formatting import counted
from ..plugins import installed
from ..registry import Fleet, Pulse, Registry, VolumeStats
from ..settings import Settings
from .facts import facts_of
from .finding import Finding
from .problems import problems_of

OWN_CHECKS = frozenset({"permissions", "failures", "clock", "plug-ins", "redis memory"})
"""Checks in which the doctor looks closer than the list: it reads the disk, records and clocks."""


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


def check_fleet(registry: Registry, settings: Settings, stats: VolumeStats) -> Iterator[Finding]:
    """The problems of this volume, and those of the hosts of the other volumes."""
    fleet = Fleet(registry.store, live_seconds=settings.host_live_seconds)
    pulse = fleet.pulse()
    everywhere = {**fleet.stats(fleet.volumes()), registry.volume: stats}
    # A host may have several volumes. Its problems are told once, with the numbers of all of them.
    here = [p for p in problems_of(facts_of(settings, pulse, {registry.volume: stats})) if p.check != "hosts"]
    hosts = [p for p in problems_of(facts_of(settings, pulse, everywhere)) if p.check == "hosts"]
    found = [p for p in [*here, *hosts] if p.check not in OWN_CHECKS]
    for problem in found:
        yield problem.as_finding()
    if not any(problem.check == "messages" for problem in found):
        yield Finding.ok("messages", "No message was thrown away in the last day")
    if not any(problem.check == "hosts" for problem in found):
        live = sum(host.live for host in pulse.hosts)
        silent = sum(not host.live and not host.ephemeral_seconds for host in pulse.hosts)
        yield Finding.ok(
            "hosts",
            f"{counted(live, 'host is', 'hosts are')} live, "
            + (f"and no file waits for the {silent:,} silent" if silent else "and none is silent")
            + _forgettable(pulse),
        )


def _forgettable(pulse: Pulse) -> str:
    """A clause on silent hosts that are no problem."""
    hosts = sum(not host.live and host.ephemeral_seconds > 0 for host in pulse.hosts)
    return f"; sweeps will forget {counted(hosts, 'silent ephemeral host')}" if hosts else ""
