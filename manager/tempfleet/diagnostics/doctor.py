"""
What may be wrong with a volume, its disk and its Redis, and what to do about it: the specification's troubleshooting
steps (8.2, 8.3), done by a program. It looks and changes nothing.

Health asks whether it works, in a few round trips, for probes; the doctor takes its time and looks at every record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from ..capacity import chosen_policy
from ..deletion import check_place
from ..errors import SettingsError, TempfleetError
from ..filesystem import Roots
from ..plugins import Hooks, installed
from ..registry import Registry
from ..settings import Settings
from .disk_checks import check_absent_volumes, check_base_directory, check_free_space, check_permissions
from .finding import Finding, Level
from .fleet_checks import check_eviction, check_hosts, check_plugins
from .registry_checks import check_clock, check_failures, check_leases, check_redis, check_registry


def diagnose(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """Every finding, the disk's first. A Redis that does not answer is one, and ends the list."""
    yield from _settings(registry, settings)
    for root in dict.fromkeys(settings.roots):
        if root == settings.base_dir and not os.path.lexists(root):
            continue  # what that means, the registry knows
        yield check_permissions(root)
        yield from check_free_space(root)
    try:
        yield from check_redis(registry)
        stats = registry.stats()
        if not os.path.lexists(settings.base_dir):
            yield check_absent_volumes(settings.base_dir, stats)
        yield from check_registry(registry, stats)
        yield from check_base_directory(registry, settings, stats)
        yield from check_eviction(stats)
        yield from check_plugins(stats, settings)
        yield from check_leases(registry)
        yield from check_hosts(registry, settings)
        yield check_clock(registry, stats)
        yield from check_failures(registry)
    except TempfleetError as exc:
        yield Finding("redis", Level.ERROR, str(exc), "Mend that first; the other checks need the registry.")


def _settings(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """What can be set and does not work; what cannot be set at all has stopped us before."""
    try:
        check_place(settings.audit_log)
        chosen_policy(Hooks(installed(settings), registry, settings))
        if os.path.isdir(settings.base_dir):
            Roots.open(settings, create=False).close()
    except SettingsError as exc:
        yield Finding("settings", Level.ERROR, str(exc), "Correct it; workers do not start with it.")
    if settings.compress_after_seconds and find_spec("zstandard") is None:
        yield Finding(
            "settings", Level.WARNING, "TEMP_FILE_COMPRESS_AFTER is set, and the library that compresses is missing",
            "pip install 'tempfleet[compression]', or unset it.",
        )  # fmt: skip
