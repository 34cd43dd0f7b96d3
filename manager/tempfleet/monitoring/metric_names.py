"""The names and help texts of all metrics."""

from __future__ import annotations

from collections.abc import Callable

from ..registry import FULL, VolumeStats

VOLUME = ("host", "volume")

COUNTERS = {
    "temp_files_registered": ("Total registered temporary files", "registered"),
    "temp_files_cleaned": (
        "Total cleaned temporary files: those that were really removed from disk",
        "deleted",
    ),
    "temp_file_registered_bytes": ("Size of the files registered, at their registration", "registered_bytes"),
    "temp_file_deleted_bytes": ("What the disk got back", "deleted_bytes"),
    "temp_files_evicted": ("Files deleted to make room on a disk that was too full", "evicted"),
    "temp_file_evicted_bytes": ("What the disk got back for them", "evicted_bytes"),
    "temp_file_retries": ("Attempts that failed and are made again", "failed"),
    "temp_file_compressed": ("Files that were compressed in place", "compressed"),
    "temp_file_decompressed": ("Files that were given their plain form back", "decompressed"),
    "temp_file_compression_saved_bytes": (
        "What the disk got back from compressing",
        "compression_saved_bytes",
    ),
    "temp_file_dead_letters": ("Files buried: retrying stopped, a person decides", "buried"),
    "temp_file_leases_expired": ("Claims whose holder died or was too slow", "leases_expired"),
    "temp_file_leases_recovered": ("Files taken back from claims that ran out", "recovered"),
    "temp_file_redis_round_trips": ("Round trips to Redis that clean-ups took", "round_trips"),
}
"""Family -> (help, the total that the scripts keep)."""

WORD_COUNTERS = {
    "temp_file_failures": ("Files that could not be deleted at an attempt, by reason", "kept"),
    "temp_file_plugin_failures": ("Calls of plug-ins that failed, by plug-in and hook", "plugin_failed"),
    "temp_file_rejected_messages": ("Messages refused, by the error's name", "rejected"),
}
"""Family -> (help, the family of totals); the word is the label ``outcome``."""

SETTLED = ("temp_files_settled", "Files that left the registry, by what became of them")
"""Name and help of the counter with a row for each outcome in ``LEFT``."""

REFUSALS = (
    "BatchError", "ClearRefused", "FileMissing", "InvalidTTL", "MalformedMessage", "QuotaExceeded", "UnknownHost",
    "UnsafePath",
)  # fmt: skip
"""What messages are refused for: shown as 0 before the first, whose increase Prometheus would not see otherwise."""

GAUGES: dict[str, tuple[str, Callable[[VolumeStats], float]]] = {
    "temp_files_active": ("Currently active temporary files, in whatever state", lambda s: s.active),
    "temp_files_waiting": ("Files that wait for their deadline or their next try", lambda s: s.waiting),
    "temp_files_leased": ("Files that are being deleted now", lambda s: s.leased),
    "temp_files_held": ("Files kept by a hold", lambda s: s.held),
    "temp_files_dead": ("Dead letters: files that wait for a person", lambda s: s.dead),
    "temp_files_due": ("Files whose deadline has passed: the backlog", lambda s: s.due),
    "temp_files_retrying": ("Files that failed at least once and are tried again", lambda s: s.retrying),
    "temp_file_bytes": ("Size of the active files, at their registration", lambda s: s.bytes),
    "temp_file_overdue_seconds": (
        "How long the first file in line has been due",
        lambda s: s.overdue_seconds,
    ),
    "temp_file_plugins_off": ("Hooks of plug-ins that are switched off", lambda s: len(s.plugins_off)),
    "temp_file_disk_full": (
        "1 while the disk is above its high mark and nothing more can be evicted",
        lambda s: bool(s.meta.get(FULL)),
    ),
    "temp_file_imbalance": (
        "Files entered, less files left, less files here; not 0 is damage",
        lambda s: s.imbalance,
    ),
}

HISTOGRAMS = {
    "temp_file_age_seconds": ("Age of temporary files when cleaned", "age"),
    "temp_file_lag_seconds": ("How long after its deadline a file was cleaned", "lag"),
    "temp_file_cleanup_duration_seconds": ("Time spent on cleanup operations", "duration"),
    "temp_file_sweep_duration_seconds": ("Time spent on sweeps by workers of this volume", "sweep"),
}

OTHERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "temp_file_roots_missing": ("Directories of this worker that are not there", VOLUME),
    "temp_file_quarantine_files": ("Files in their grace period", VOLUME),
    "temp_file_quarantine_bytes": ("Size of the files in their grace period", VOLUME),
    "tempfleet_build_info": ("Which Tempfleet this is", ("version", "python", "schema")),
    "tempfleet_hosts_live": ("Hosts with a fresh heartbeat", ()),
    "tempfleet_hosts_silent": ("Hosts that have fallen silent", ()),
    "tempfleet_redis_memory_max_bytes": ("Redis's maxmemory; 0 is no limit", ()),
    "tempfleet_redis_memory_used_bytes": ("Memory that Redis uses", ()),
    "tempfleet_registry_up": ("Whether Redis answered this scrape", ()),
    "tempfleet_silent_host_due_files": ("Files of a silent host that are due", VOLUME),
    "tempfleet_silent_host_files": ("Files of a silent host", VOLUME),
    "tempfleet_silent_host_seconds": ("Since a silent host's last heartbeat", ("host",)),
    "tempfleet_sweep_age_seconds": ("Since the last sweep ended", ()),
    "tempfleet_sweep_interval_seconds": ("How often beat sends a sweep", ()),
}
"""Gauge -> (help, labels), of what belongs to a process or to the whole fleet."""
