"""
Every setting of Tempfleet: its variable, its default, its bounds, and the properties that follow from it.

How values are read from the environment is in environment_model.py. Durations are seconds here and in the environment,
because people write them; the registry counts milliseconds. Durations and sizes can have units; see units.py.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from .environment_model import EnvironmentModel
from .sources import DEFAULT_ENV_FILE
from .units import Permissions, Seconds, SecondsOrADay, Size
from .urls import is_loopback, without_password

LONGEST_TTL_SECONDS = 366 * 24 * 3600
"""The longest duration of any setting. A larger number is milliseconds by mistake, and no thread can wait so long."""

MAX_BATCH = 1000
"""The most members that one script moves. 100,000 at once would block all clients of the server for half a second."""

FORBIDDEN_IN_NAMES = frozenset("{}|")
"""These characters separate the parts of a Redis key."""

NAME_ALLOWED = "a name without { } |"
ROOTS_ALLOWED = f"directories, {os.pathsep} between"
POLICIES_ALLOWED = "oldest | largest | least-recently-used | size-age | a plug-in's"

ALL_PLUGINS, NO_PLUGINS = "on", "off"


class InUse(StrEnum):
    """What a clean-up does with an expired file that a process of this host has open or locked."""

    KEEP = "keep"
    STRICT = "strict"
    DELETE = "delete"


class Compression(StrEnum):
    """Which idle files are compressed: those registered with compress=True, or all files of the volume."""

    ASKED = "asked"
    ALL = "all"


class Quota(StrEnum):
    """What happens at a limit: health is degraded, registering is refused, or older files are evicted."""

    SOFT = "soft"
    REJECT = "reject"
    EVICT = "evict"


class OnPluginFailure(StrEnum):
    """Whether a clean-up keeps or deletes the files for which it cannot ask a disabled plug-in."""

    KEEP = "keep"
    GO_ON = "go-on"


class LogLevel(StrEnum):
    """The lowest level of events that are logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


def default_base_dir() -> str:
    """Each user has a default directory of his own, so that two users of a host never share a volume."""
    return os.path.join(tempfile.gettempdir(), f"tempfleet-{os.getuid()}")


def _env(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), **bounds)


def _split_paths(value: Any) -> Any:
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    return tuple(_absolute(part) for part in parts if part)


def _level_name(value: Any) -> Any:
    level = {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(str(value).upper(), str(value).upper())
    return level if level in LogLevel.__members__ else value


def _lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


# Annotations, not field validators: environment_model.py removes comments from a value before these read it.
Directories = Annotated[tuple[str, ...], BeforeValidator(_split_paths)]
Level = Annotated[LogLevel, BeforeValidator(_level_name)]
Format = Annotated[Literal["text", "json"], BeforeValidator(_lower_case)]
Backend = Annotated[Literal["prometheus"], BeforeValidator(_lower_case)]


class Settings(EnvironmentModel, defer_build=False):
    """The settings in force in one process. ``load()`` raises SettingsError if a value is not allowed."""

    config_file: str = _env("TEMP_FILE_CONFIG", "", description="a TOML file")
    env_file: str = _env("TEMP_FILE_ENV_FILE", DEFAULT_ENV_FILE, description="a file of NAME=value lines")
    base_dir: str = Field(
        default_factory=default_base_dir,
        validation_alias=AliasChoices("TEMP_FILE_BASE_DIR"),
        description="a directory",
    )
    max_age_seconds: Seconds = _env("TEMP_FILE_MAX_AGE", 3600, gt=0, le=LONGEST_TTL_SECONDS)
    cleanup_interval_seconds: Seconds = _env("TEMP_FILE_CLEANUP_INTERVAL", 300, gt=0, le=LONGEST_TTL_SECONDS)
    timer_interval_seconds: Seconds = _env("TEMP_FILE_TIMER_INTERVAL", 60, gt=0, le=LONGEST_TTL_SECONDS)

    batch_size: int = _env("TEMP_FILE_CLEANUP_BATCH_SIZE", 500, ge=1, le=MAX_BATCH)
    threads: int = _env("TEMP_FILE_CLEANUP_THREADS", 4, ge=1, le=64)
    timeout_seconds: Seconds = _env("TEMP_FILE_CLEANUP_TIMEOUT", 30, gt=0, le=LONGEST_TTL_SECONDS)
    lease_seconds: Seconds = _env("TEMP_FILE_LEASE", 120, ge=0.1, le=3600)

    retry_delay_seconds: Seconds = _env("TEMP_FILE_RETRY_DELAY", 5, gt=0, le=LONGEST_TTL_SECONDS)
    retry_max_delay_seconds: Seconds = _env("TEMP_FILE_RETRY_MAX_DELAY", 3600, gt=0, le=LONGEST_TTL_SECONDS)
    max_attempts: int = _env("TEMP_FILE_MAX_ATTEMPTS", 25, ge=1)

    redis_url: str = _env(
        "TEMP_FILE_REDIS_URL", "redis://localhost:6379/0", description="redis, rediss, unix or embedded URL"
    )
    redis_url_file: str = _env("TEMP_FILE_REDIS_URL_FILE", "", description="a file with the URL")
    redis_timeout_seconds: Seconds = _env("TEMP_FILE_REDIS_TIMEOUT", 5, ge=0.1, le=3600)
    broker_url: str | None = _env("TEMP_FILE_BROKER_URL", None, description="a URL that Celery knows")
    broker_url_file: str = _env("TEMP_FILE_BROKER_URL_FILE", "", description="a file with the URL")
    host: str = Field(
        default_factory=socket.gethostname,
        validation_alias=AliasChoices("TEMP_FILE_HOST"),
        description=NAME_ALLOWED,
    )
    namespace: str = _env("TEMP_FILE_NAMESPACE", "tempfleet", description=NAME_ALLOWED)
    allowed_roots: Directories = _env("TEMP_FILE_ALLOWED_ROOTS", (), description=ROOTS_ALLOWED)
    message_roots: Directories = _env("TEMP_FILE_MESSAGE_ROOTS", (), description=ROOTS_ALLOWED)
    remote_clear: bool = _env("TEMP_FILE_REMOTE_CLEAR", False)
    heartbeat_seconds: Seconds = _env("TEMP_FILE_HEARTBEAT", 15, gt=0, le=LONGEST_TTL_SECONDS)
    host_live_seconds: Seconds = _env("TEMP_FILE_HOST_LIVE_FOR", 60, gt=0, le=LONGEST_TTL_SECONDS)
    host_ephemeral_seconds: SecondsOrADay = _env("TEMP_FILE_HOST_EPHEMERAL", 0, ge=0, le=LONGEST_TTL_SECONDS)

    owner_check: bool = _env("TEMP_FILE_OWNER_CHECK", True)
    permission_mask: Permissions = _env("TEMP_FILE_PERMISSION_MASK", 0o600, description="octal, 0400 in it")
    secure_delete: bool = _env("TEMP_FILE_SECURE_DELETE", False)
    in_use: InUse = _env("TEMP_FILE_IN_USE", InUse.KEEP)
    remove_empty_parents: bool = _env("TEMP_FILE_REMOVE_EMPTY_PARENTS", False)
    quarantine_seconds: Seconds = _env("TEMP_FILE_QUARANTINE", 0, ge=0, le=LONGEST_TTL_SECONDS)
    quarantine_max_bytes: Size = _env("TEMP_FILE_QUARANTINE_MAX_BYTES", 1 << 30, ge=0)
    compress_after_seconds: Seconds = _env("TEMP_FILE_COMPRESS_AFTER", 0, ge=0, le=LONGEST_TTL_SECONDS)
    compress_min_bytes: Size = _env("TEMP_FILE_COMPRESS_MIN_SIZE", 64 << 10, ge=1)
    compression: Compression = _env("TEMP_FILE_COMPRESSION", Compression.ASKED)
    audit_log: str = _env("TEMP_FILE_AUDIT_LOG", "", description="a file")

    size_limit_bytes: Size = _env("TEMP_FILE_SIZE_LIMIT", 0, ge=0)
    max_files: int = _env("MAX_TEMP_FILES", 0, ge=0)
    max_bytes: Size = _env("TEMP_FILE_MAX_BYTES", 0, ge=0)
    tag_max_files: int = _env("TEMP_FILE_TAG_MAX_FILES", 0, ge=0)
    tag_max_bytes: Size = _env("TEMP_FILE_TAG_MAX_BYTES", 0, ge=0)
    host_max_files: int = _env("TEMP_FILE_HOST_MAX_FILES", 0, ge=0)
    host_max_bytes: Size = _env("TEMP_FILE_HOST_MAX_BYTES", 0, ge=0)
    quota: Quota = _env("TEMP_FILE_QUOTA", Quota.SOFT)

    eviction_policy: str = _env("TEMP_FILE_EVICTION_POLICY", "oldest", description=POLICIES_ALLOWED)
    evict_above: int = _env("TEMP_FILE_EVICT_ABOVE", 0, ge=0, le=99)
    evict_down_to: int = _env("TEMP_FILE_EVICT_DOWN_TO", 80, ge=0, le=98)
    evict_memory_above: int = _env("TEMP_FILE_EVICT_MEMORY_ABOVE", 0, ge=0, le=99)
    evict_memory_down_to: int = _env("TEMP_FILE_EVICT_MEMORY_DOWN_TO", 80, ge=0, le=98)

    plugins: str = _env("TEMP_FILE_PLUGINS", "on", description="on, off, or names with commas between")
    plugin_timeout_seconds: Seconds = _env("TEMP_FILE_PLUGIN_TIMEOUT", 5, gt=0, le=60)
    plugin_failed: OnPluginFailure = _env("TEMP_FILE_PLUGIN_FAILED", OnPluginFailure.KEEP)

    cleanup_on_start: bool = _env("TEMP_FILE_CLEANUP_ON_START", False)
    clear_on_shutdown: bool = _env("TEMP_FILE_CLEAR_ON_SHUTDOWN", False)

    log_level: Level = _env("LOG_LEVEL", LogLevel.INFO)
    log_format: Format = _env("LOG_FORMAT", "text")
    log_file: str = _env("LOG_FILE", "", description="a file")

    metrics: bool = _env("ENABLE_TEMP_FILE_METRICS", True)
    metrics_backend: Backend = _env("METRICS_BACKEND", "prometheus")
    metrics_port: int = _env("PROMETHEUS_PORT", 9090, ge=0, le=65535)
    metrics_address: str = _env("TEMP_FILE_METRICS_ADDRESS", "127.0.0.1", description="an address")
    metrics_all_volumes: bool = _env("TEMP_FILE_METRICS_ALL_VOLUMES", False)
    status_page: bool | None = _env("TEMP_FILE_STATUS_PAGE", None)

    @field_validator("base_dir")
    @classmethod
    def _check_base_dir(cls, value: str) -> str:
        if not value or "\0" in value:
            raise ValueError("must be the path of a directory")
        return _absolute(value)

    @field_validator("host", "namespace")
    @classmethod
    def _check_key_part(cls, value: str) -> str:
        if not value or not value.isprintable() or FORBIDDEN_IN_NAMES & set(value):
            raise ValueError("must be a name without control characters and without { } |")
        return value

    @field_validator("audit_log", "log_file")
    @classmethod
    def _expand_home(cls, value: str) -> str:
        return os.path.expanduser(value)

    @field_validator("plugins")
    @classmethod
    def _check_plugin_names(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if not all(name.isprintable() and name for name in names) or (
            len(names) > 1 and {ALL_PLUGINS, NO_PLUGINS} & set(names)
        ):
            raise ValueError("must be on, off, or names with commas between")
        return ",".join(names)

    @model_validator(mode="after")
    def _check_pairs(self) -> Settings:
        if self.host_live_seconds <= self.heartbeat_seconds:
            raise ValueError("TEMP_FILE_HOST_LIVE_FOR must be longer than TEMP_FILE_HEARTBEAT")
        if 0 < self.host_ephemeral_seconds <= self.host_live_seconds:
            raise ValueError("TEMP_FILE_HOST_EPHEMERAL must be longer than TEMP_FILE_HOST_LIVE_FOR")
        for name in ("evict", "evict_memory"):
            above, down_to = f"{name}_above", f"{name}_down_to"
            if 0 < getattr(self, above) <= getattr(self, down_to):
                high, low = self.variable_of(above), self.variable_of(down_to)
                raise ValueError(f"{low} ({getattr(self, down_to)}) must be lower than {high}")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_password(value) if name and name.endswith("_url") and value else value

    def of_a_tool(self) -> Settings:
        """Returns settings for our own programs: they must not delete files at their start or end."""
        return self.model_copy(update={"cleanup_on_start": False, "clear_on_shutdown": False})

    @property
    def effective_broker_url(self) -> str:
        return self.broker_url or self.redis_url

    @property
    def roots(self) -> tuple[str, ...]:
        """The directories below which files may be deleted, base_dir first."""
        return _unique((self.base_dir, *(self.allowed_roots or (tempfile.gettempdir(),))))

    @property
    def homes(self) -> frozenset[str]:
        """Home directories, which are never accepted as roots: a clean-up there would be a disaster. Not resolved."""
        return frozenset((os.path.expanduser("~"), "/home", "/root", "/Users"))

    @property
    def confined_roots(self) -> tuple[str, ...]:
        """The roots below which a message from the broker may name files."""
        return _unique(self.message_roots or (self.base_dir,))

    @property
    def serves_status_page(self) -> bool:
        """The page shows file names, so by default it is served on a loopback address only."""
        if self.status_page is not None:
            return self.status_page
        return is_loopback(self.metrics_address)

    @property
    def lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)


def variables() -> dict[str, str]:
    """Field name -> environment variable, of every setting."""
    return Settings.variables()


def _absolute(path: str) -> str:
    """Expand ``~`` as well, because no shell expands it in a file or in quotes."""
    return os.path.abspath(os.path.expanduser(path))


def _unique(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(Path(path)) for path in paths))
