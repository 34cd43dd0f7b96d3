"""
Metrics for Prometheus, from the counts in the registry.

No process counts anything itself. The scripts update totals and histogram buckets in Redis when they move a file. A
collector reads them at each scrape. So the figures are right for the pools threads, prefork and solo, for a library
process that Prometheus does not scrape, and after a kill -9. Every worker of a host shows the same figures; therefore
rules and dashboards take ``max by (host, volume)`` before they sum.

A worker shows the volumes of its own host. For silent and unknown hosts it shows the files that wait there, because
nobody scrapes those. Label values are bounded: a host, a volume, or a word of a fixed set. They never contain file
names.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..deletion import bytes_in_quarantine
from ..diagnostics import free_share
from ..errors import RegistryError
from ..filesystem import Roots
from ..logs import Trouble, printable
from ..plugins import Plugin
from ..registry import SCHEMA, Fleet, Host, Memory, Volume, VolumeStats
from . import words
from .metric_names import (
    COUNTERS,
    FAILURES,
    GAUGES,
    HISTOGRAMS,
    OTHERS,
    PLUGIN_FAILURES,
    REJECTED,
    SETTLED,
    VOLUME,
)

Stats = Mapping[Volume, VolumeStats]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape has read, at about one time."""

    stats: Stats
    hosts: Sequence[Host]
    silent: Stats
    unknown: Stats
    memory: Memory | None
    sweep_age_seconds: float | None


class FleetCollector(Collector):
    """
    Metric families from the registry, read once per scrape.

    If Redis does not answer, the scrape still succeeds: ``tempfleet_registry_up`` is 0, and other families are absent.

    Args:
        host: the host whose volumes are shown; None shows those of every host, for a single exporter.
        roots: the roots of this process; missing ones are counted.
        plugins: the plug-ins of this process; their failures are shown from 0 on.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        host: str | None,
        own: Volume | None = None,
        roots: Roots | None = None,
        sweep_interval_seconds: float = 300,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        self.fleet = fleet
        self.host = host
        self.own = own
        self.roots = roots
        self.sweep_interval_seconds = sweep_interval_seconds
        self.plugins = plugins
        self.trouble = Trouble()

    def describe(self) -> Iterable[Metric]:
        """Registering the collector reads nothing from Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield build_info()
        yield gauge("tempfleet_sweep_interval_seconds", self.sweep_interval_seconds)
        yield from self._roots()
        try:
            scrape = self._read()
            self.trouble.works("Metrics without the registry")
        except RegistryError as exc:
            self.trouble.failed("Metrics without the registry", exc)
            yield gauge("tempfleet_registry_up", 0)
            return
        yield gauge("tempfleet_registry_up", 1)
        yield from volume_families(scrape.stats, self.plugins)
        yield from fleet_families(scrape)

    def _read(self) -> Scrape:
        pulse = self.fleet.pulse()
        hosts = pulse.hosts
        live = {host.name for host in hosts if host.live}
        silent = {host.name for host in hosts} - live
        volumes = self.fleet.volumes()
        stats = self.fleet.stats(
            volume for volume in volumes if self.host in (None, volume.host) or volume.host not in live
        )
        return Scrape(
            stats={volume: s for volume, s in stats.items() if self.host in (None, volume.host)},
            hosts=hosts,
            silent={volume: s for volume, s in stats.items() if volume.host in silent},
            unknown={volume: s for volume, s in stats.items() if volume.host not in live | silent},
            memory=self.fleet.memory(),
            sweep_age_seconds=None
            if pulse.swept_ms is None
            else max(pulse.now_ms - pulse.swept_ms, 0) / 1000,
        )

    def _roots(self) -> Iterator[Metric]:
        """Metrics from the disk; a root that cannot be read counts as missing."""
        if self.roots is None or self.own is None:
            return
        missing = self.roots.check()
        yield self._of_own("temp_file_roots_missing", len(missing))
        yield self._of_own("temp_file_disk_free_ratio", free_share(self.roots, missing))
        try:
            sizes = bytes_in_quarantine(self.roots)
            self.trouble.works("Metrics without the quarantined files")
        except OSError as exc:
            self.trouble.failed("Metrics without the quarantined files", exc)
            return
        yield self._of_own("temp_file_quarantine_files", len(sizes))
        yield self._of_own("temp_file_quarantine_bytes", sum(sizes))

    def _of_own(self, name: str, value: float) -> Metric:
        assert self.own is not None
        family = gauges(name)
        family.add_metric(labels_of(self.own), value)
        return family


def volume_families(by_volume: Stats, plugins: Sequence[Plugin] = ()) -> Iterator[Metric]:
    """The families with one sample per volume, or one per volume and outcome."""
    for name, (help_, total) in COUNTERS.items():
        counter = CounterMetricFamily(name, help_, labels=VOLUME)
        for volume, stats in by_volume.items():
            counter.add_metric(labels_of(volume), stats.total(total))
        yield counter
    yield by_outcome(*FAILURES, {v: words.failures(stats, plugins) for v, stats in by_volume.items()})
    yield by_outcome(
        *PLUGIN_FAILURES, {v: words.plugin_failures(stats, plugins) for v, stats in by_volume.items()}
    )
    yield by_outcome(*REJECTED, {v: words.rejected(stats) for v, stats in by_volume.items()})
    yield by_outcome(*SETTLED, {v: words.settled(stats) for v, stats in by_volume.items()})
    for name, (help_, read) in GAUGES.items():
        family = GaugeMetricFamily(name, help_, labels=VOLUME)
        for volume, stats in by_volume.items():
            family.add_metric(labels_of(volume), read(stats))
        yield family
    for name, (help_, kept) in HISTOGRAMS.items():
        histogram = HistogramMetricFamily(name, help_, labels=VOLUME)
        for volume, stats in by_volume.items():
            buckets = stats.histogram(kept)
            histogram.add_metric(labels_of(volume), buckets.cumulative(), buckets.sum_seconds)
        yield histogram


def by_outcome(name: str, help_: str, by_volume: Mapping[Volume, Mapping[str, int]]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=(*VOLUME, "outcome"))
    for volume, counts in by_volume.items():
        for word, count in counts.items():
            family.add_metric([*labels_of(volume), printable(word)], count)
    return family


def fleet_families(scrape: Scrape) -> Iterator[Metric]:
    """The families about the fleet; every worker shows the same values."""
    live = sum(host.live for host in scrape.hosts)
    yield gauge("tempfleet_hosts_live", live)
    yield gauge("tempfleet_hosts_silent", len(scrape.hosts) - live)
    yield from silent_families(scrape)
    if scrape.sweep_age_seconds is not None:
        yield gauge("tempfleet_sweep_age_seconds", scrape.sweep_age_seconds)
    if scrape.memory is not None:
        used, most = scrape.memory.used_bytes, scrape.memory.max_bytes
        yield gauge("tempfleet_redis_memory_used_bytes", used)
        yield gauge("tempfleet_redis_memory_max_bytes", most)


def silent_families(scrape: Scrape) -> Iterator[Metric]:
    seconds = gauges("tempfleet_silent_host_seconds")
    for host in scrape.hosts:
        if not host.live:
            seconds.add_metric([printable(host.name)], host.silent_seconds)
    yield seconds
    files = gauges("tempfleet_silent_host_files")
    due = gauges("tempfleet_silent_host_due_files")
    ephemeral = {host.name for host in scrape.hosts if host.ephemeral_seconds}
    for volume, stats in scrape.silent.items():
        files.add_metric(labels_of(volume), stats.active)
        if volume.host not in ephemeral:
            due.add_metric(labels_of(volume), stats.due)
    unknown = gauges("tempfleet_unknown_host_files")
    for volume, stats in scrape.unknown.items():
        unknown.add_metric(labels_of(volume), stats.active)
    yield from (files, due, unknown)


def build_info() -> Metric:
    family = gauges("tempfleet_build_info")
    family.add_metric([installed_version(), platform.python_version(), str(SCHEMA)], 1)
    return family


def installed_version() -> str:
    try:
        return version("tempfleet")
    except PackageNotFoundError:  # run from a source tree
        return "source"


def gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, OTHERS[name][0], value=value)


def gauges(name: str) -> GaugeMetricFamily:
    help_, labels = OTHERS[name]
    return GaugeMetricFamily(name, help_, labels=labels)


def labels_of(volume: Volume) -> list[str]:
    """Base directories can contain any bytes, but label values are UTF-8, so unprintable characters are escaped."""
    return [printable(volume.host), printable(volume.base_dir)]


def prometheus_registry(collector: FleetCollector) -> CollectorRegistry:
    """The metrics of ``/metrics``: the collector's, and memory, processor time and descriptors of this process."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
