"""
Settings: one frozen object, read once from the environment and its files.

Promises: every value is checked when it is read. A wrong one raises a SettingsError that names the variable and the
allowed values. A value's source is kept, so that ``tempfleet config`` can show it.

Does not: change after it was made, or open anything. No other room reads the environment.
"""

from .settings import (
    ALL_PLUGINS,
    LONGEST_TTL_SECONDS,
    MAX_BATCH,
    NO_PLUGINS,
    Compression,
    InUse,
    LogLevel,
    OnPluginFailure,
    Quota,
    Settings,
    default_base_dir,
    variables,
)
from .units import parse_seconds
from .urls import is_loopback, without_password

__all__ = [
    "ALL_PLUGINS",
    "LONGEST_TTL_SECONDS",
    "MAX_BATCH",
    "NO_PLUGINS",
    "Compression",
    "InUse",
    "LogLevel",
    "OnPluginFailure",
    "Quota",
    "Settings",
    "default_base_dir",
    "is_loopback",
    "parse_seconds",
    "variables",
    "without_password",
]
