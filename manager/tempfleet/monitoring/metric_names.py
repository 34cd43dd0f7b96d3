"""The names and help texts of all metrics."""

from __future__ import annotations

from collections.abc import Callable

from ..registry import FULL, VolumeStats

VOLUME = ("host", "volume")

COUNTERS = {
    "temp_files_registered": ("Total registered temporary files", "registered"),
    "temp_files_cleaned": (
        "Total cleaned temporary files: those that were removed from the disk",
        "deleted",
    ),
    "temp_file_registered_bytes": ("Size of all registered files, at their registration", "registered_bytes"),
    "temp_file_deleted_bytes": ("Bytes freed on the disk by deletions", "deleted_bytes"),
    "temp_files_rewritten": (
        "Files that were kept, because they had been rewritten under their name, and expire later",
        "rewritten",
    ),
    "temp_files_evicted": (
        "Files that were deleted because a disk was too full",
        "evicted",
    ),
    "temp_file_evicted_bytes": ("Bytes freed on the disk by evictions", "evicted_bytes"),
    "temp_file_retries": ("Failed deletions that are retried", "failed"),
    "temp_file_compressed": ("Files that were compressed in place", "compressed"),
    "temp_file_decompressed": ("Files that were decompressed", "decompressed"),
    "temp_file_compression_saved_bytes": (
        "Bytes freed on the disk by compression",
        "compression_saved_bytes",
    ),
    "temp_file_dead_letters": (
        "Files that became dead letters and are not retried",
        "buried",
    ),
    "temp_file_leases_expired": (
        "Claims whose process died or was too slow",
        "leases_expired",
    ),
    "temp_file_leases_recovered": (
        "Files that were returned to the registry when their lease had ended",
        "recovered",
    ),
    "temp_file_redis_round_trips": ("Round trips to Redis of clean-ups", "round_trips"),
}
"""Name -> (help, name of the total in Redis)."""

FAILURES = ("temp_file_failures", "Failed deletions, by reason")
PLUGIN_FAILURES = ("temp_file_plugin_failures", "Failed calls of plug-ins, by plug-in and hook")
REJECTED = ("temp_file_rejected_messages", "Messages that were thrown away, by the name of the error")
SETTLED = ("temp_files_settled", "Files that left the registry, by outcome")
BY_OUTCOME = (FAILURES, PLUGIN_FAILURES, REJECTED, SETTLED)
"""Name and help of the counters with the label ``outcome``; words.py has its values."""

GAUGES: dict[str, tuple[str, Callable[[VolumeStats], float]]] = {
    "temp_files_active": ("Currently active temporary files, in any state", lambda s: s.active),
    "temp_files_waiting": ("Files that wait for their deadline or their retry", lambda s: s.waiting),
    "temp_files_leased": ("Files that are claimed, to be deleted now", lambda s: s.leased),
    "temp_files_held": ("Files kept by a hold", lambda s: s.held),
    "temp_files_dead": ("Dead letters: files that could not be deleted", lambda s: s.dead),
    "temp_files_due": ("Expired files that are not deleted yet: the backlog", lambda s: s.due),
    "temp_files_retrying": ("Files whose deletion failed and is retried", lambda s: s.retrying),
    "temp_file_bytes": ("Size of the active files, at their registration", lambda s: s.bytes),
    "temp_file_overdue_seconds": (
        "Time since the earliest deadline that has passed",
        lambda s: s.overdue_seconds,
    ),
    "temp_file_plugins_off": ("Hooks of plug-ins that are switched off", lambda s: len(s.plugins_off)),
    "temp_file_clock_slack_seconds": (
        "How much later deadlines pass, because Redis's clock jumped ahead",
        lambda s: s.slack_ms / 1000,
    ),
    "temp_file_claims_paused": (
        "1 while no expired file is deleted, because Redis is older than before or far ahead",
        lambda s: s.pause is not None,
    ),
    "temp_file_disk_full": (
        "1 if the disk is above its high mark and no file can be evicted",
        lambda s: bool(s.meta.get(FULL)),
    ),
    "temp_file_not_served": (
        "1 if the worker of its host does not serve the volume",
        lambda s: bool(s.not_served),
    ),
    "temp_file_imbalance": (
        "Files that entered, minus files that left, minus active files; not 0 is damage",
        lambda s: s.imbalance,
    ),
}

HISTOGRAMS = {
    "temp_file_age_seconds": ("Age of temporary files when cleaned", "age"),
    "temp_file_lag_seconds": ("Time between a file's deadline and its deletion", "lag"),
    "temp_file_cleanup_duration_seconds": ("Time spent on cleanup operations", "duration"),
    "temp_file_sweep_duration_seconds": ("Time spent on sweeps by workers of this volume", "sweep"),
}

OTHERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "temp_file_roots_missing": ("Roots of this worker that are missing", VOLUME),
    "temp_file_quarantine_files": ("Files in quarantine", VOLUME),
    "temp_file_quarantine_bytes": ("Size of the files in quarantine", VOLUME),
    "temp_file_disk_free_ratio": (
        "Free share of the fullest file system of this worker's roots: bytes or inodes",
        VOLUME,
    ),
    "tempfleet_build_info": (
        "Version of Tempfleet, of Python and of the registry",
        ("version", "python", "schema"),
    ),
    "tempfleet_hosts_live": ("Hosts with a fresh heartbeat", ()),
    "tempfleet_hosts_silent": ("Hosts without a fresh heartbeat", ()),
    "tempfleet_redis_memory_max_bytes": ("Redis's maxmemory; 0 if there is no limit", ()),
    "tempfleet_redis_memory_used_bytes": ("Memory that Redis uses", ()),
    "tempfleet_registry_up": ("1 if Redis answered this scrape", ()),
    "tempfleet_silent_host_due_files": ("Expired files of a silent host that is not ephemeral", VOLUME),
    "tempfleet_silent_host_files": ("Files of a silent host", VOLUME),
    "tempfleet_silent_host_seconds": ("Time since the last heartbeat of a silent host", ("host",)),
    "tempfleet_unknown_host_files": ("Files registered for a host of which no worker is known", VOLUME),
    "tempfleet_sweep_age_seconds": ("Time since the end of the last sweep", ()),
    "tempfleet_sweep_interval_seconds": ("Interval at which beat sends sweeps", ()),
}
"""Gauges of a process or of the whole fleet: name -> (help, labels)."""
