"""
What is wrong with a volume, its disk and its Redis, and what to do about it: the troubleshooting steps of the
specification (8.2, 8.3) as a program. It changes nothing.

The health check is for probes and takes a few round trips. The doctor is slower, because it reads every record.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ..capacity import chosen_policy
from ..deletion import check_place
from ..errors import SettingsError, TempfleetError, VolumeUnavailable
from ..filesystem import Roots
from ..plugins import Hooks, installed
from ..registry import Registry
from ..settings import Settings
from .disk_checks import check_base_directory, check_missing_directory, check_root
from .finding import Finding
from .fleet_checks import check_fleet, check_plugins
from .registry_checks import check_clock, check_failures, check_leases, check_redis, check_registry


def diagnose(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """Yield the finding of each check, those of the disk first. If Redis does not answer, that is the last finding."""
    yield from check_settings(registry, settings)
    is_there = True
    for root in dict.fromkeys(settings.roots):
        findings = check_root(root, is_base=root == settings.base_dir)
        if root == settings.base_dir:
            is_there = bool(findings)
        yield from findings
    try:
        yield from check_redis(registry)
        stats = registry.stats()
        if not is_there:
            yield check_missing_directory(settings.base_dir, stats)
        yield from check_registry(registry, stats)
        yield from check_base_directory(registry, settings, stats)
        yield from check_plugins(stats, settings)
        yield from check_leases(registry)
        yield from check_fleet(registry, settings, stats)
        yield check_clock(registry, stats)
        yield from check_failures(registry)
    except TempfleetError as exc:
        yield Finding.error("redis", str(exc), "Repair this first; the other checks need the registry.")


def check_settings(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """Settings that are valid but do not work. Invalid settings raise an error earlier."""
    try:
        check_place(settings.audit_log)
        chosen_policy(Hooks(installed(settings), registry, settings))
        Roots.open(settings, create=False).close()
    except SettingsError as exc:
        yield Finding.error("settings", str(exc), "Correct it. Workers do not start with it.")
    except (OSError, VolumeUnavailable):
        pass  # the checks of the directories report it
    if settings.compress_after_seconds and find_spec("zstandard") is None:
        yield Finding.warning(
            "settings",
            "TEMP_FILE_COMPRESS_AFTER is set, but the compression library is missing",
            "Run pip install 'tempfleet[compression]', or unset it.",
        )
