"""
Settings: one frozen object, read once from the environment and its files.

    settings            every setting: its variable, its type, its allowed range
    environment_model   the base class: turns named variables into checked values
    sources             reads and merges the environment, the .env file and the TOML file
    units, urls         parse durations, sizes and Redis URLs

Promises: every value is checked when it is read. A wrong value raises a SettingsError that names the variable and the
allowed values. The origin of each value can be read, so that ``tempfleet config`` shows it. No other room reads a
setting from the environment.

Does not: change after it was made, or check that a directory or a Redis exists.
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
