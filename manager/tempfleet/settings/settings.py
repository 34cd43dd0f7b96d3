"""
Every setting, read once, frozen. With sources.py, the only place that reads the environment.

A variable's name is its field's ``validation_alias``. Durations are seconds here and in the environment,
because people write them; inside, the registry counts milliseconds. Both they and sizes may have units; see units.py.
"""

from __future__ import annotations

import difflib
import os
import socket
import stat
import tempfile
import warnings
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..errors import SettingsError
from .sources import DEFAULT_ENV_FILE, ENVIRONMENT, PREFIX, SettingValue, gather, without_comment
from .units import Seconds, Size
from .urls import is_loopback, without_password

LONGEST_TTL_SECONDS = 366 * 24 * 3600
"""Of any duration. Nobody means more: it is milliseconds taken for seconds, and no thread can wait for it."""

MAX_BATCH = 1000
"""Members a script may move: 100,000 in one block every other client of the server for half a second."""

FORBIDDEN_IN_NAMES = frozenset("{}|")
"""They delimit the parts of a Redis key."""

_TEXT = (str, str | None, tuple[str, ...])
"""The types in whose text a # is nothing special."""

_TRUTHS = (bool, bool | None)

NAME_ALLOWED = "a name without { } |"
ROOTS_ALLOWED = f"directories, {os.pathsep} between"
POLICIES_ALLOWED = "oldest | largest | least-recently-used | size-age | a plug-in's"

ALL_PLUGINS, NO_PLUGINS = "on", "off"


class InUse(StrEnum):
    """What is done with a due file that a process of this host has open or locked."""

    KEEP = "keep"
    STRICT = "strict"
    DELETE = "delete"


class Compression(StrEnum):
    """Which idle files are compressed: those that were registered so, or all of the volume."""

    ASKED = "asked"
    ALL = "all"


class Quota(StrEnum):
    """What happens at a limit: health is degraded; or registering is refused; or older files make room."""

    SOFT = "soft"
    REJECT = "reject"
    EVICT = "evict"


class OnPluginFailure(StrEnum):
    """What becomes of files that a plug-in which is switched off was to be asked about."""

    KEEP = "keep"
    GO_ON = "go-on"


class LogLevel(StrEnum):
    """From which level on events are logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


def default_base_dir() -> str:
    """One for each user, so that two users of a host never share a volume."""
    return os.path.join(tempfile.gettempdir(), f"tempfleet-{os.getuid()}")


def _env(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), **bounds)


class Settings(BaseModel):
    """
    The effective settings of one process.

    Raises:
        SettingsError: from ``load()``; names the variable, the value got and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

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
    broker_url: str | None = _env("TEMP_FILE_BROKER_URL", None, description="a URL that Celery knows")
    broker_url_file: str = _env("TEMP_FILE_BROKER_URL_FILE", "", description="a file with the URL")
    host: str = Field(
        default_factory=socket.gethostname,
        validation_alias=AliasChoices("TEMP_FILE_HOST"),
        description=NAME_ALLOWED,
    )
    namespace: str = _env("TEMP_FILE_NAMESPACE", "tempfleet", description=NAME_ALLOWED)
    allowed_roots: tuple[str, ...] = _env("TEMP_FILE_ALLOWED_ROOTS", (), description=ROOTS_ALLOWED)
    message_roots: tuple[str, ...] = _env("TEMP_FILE_MESSAGE_ROOTS", (), description=ROOTS_ALLOWED)
    remote_clear: bool = _env("TEMP_FILE_REMOTE_CLEAR", False)
    heartbeat_seconds: Seconds = _env("TEMP_FILE_HEARTBEAT", 15, gt=0, le=LONGEST_TTL_SECONDS)
    host_live_seconds: Seconds = _env("TEMP_FILE_HOST_LIVE_FOR", 60, gt=0, le=LONGEST_TTL_SECONDS)

    owner_check: bool = _env("TEMP_FILE_OWNER_CHECK", True)
    permission_mask: int = _env("TEMP_FILE_PERMISSION_MASK", 0o600, description="octal, 0400 in it")
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

    log_level: LogLevel = _env("LOG_LEVEL", LogLevel.INFO)
    log_format: Literal["text", "json"] = _env("LOG_FORMAT", "text")
    log_file: str = _env("LOG_FILE", "", description="a file")

    metrics: bool = _env("ENABLE_TEMP_FILE_METRICS", True)
    metrics_backend: Literal["prometheus"] = _env("METRICS_BACKEND", "prometheus")
    metrics_port: int = _env("PROMETHEUS_PORT", 9090, ge=0, le=65535)
    metrics_address: str = _env("TEMP_FILE_METRICS_ADDRESS", "127.0.0.1", description="an address")
    metrics_all_volumes: bool = _env("TEMP_FILE_METRICS_ALL_VOLUMES", False)
    status_page: bool | None = _env("TEMP_FILE_STATUS_PAGE", None)

    @classmethod
    def load(cls, given: Settings | None = None, /, **values: Any) -> Settings:
        """
        The settings of the environment and its files, or those *given*, with *values* (by field name) before them.

        A value of None says nothing.

        An unknown ``TEMP_FILE_*`` variable is warned about, with the name that was probably meant. A URL that is not
        given is read from its file, where one is named: so a password is in no environment.
        """
        said = {name: value for name, value in values.items() if value is not None}
        if given is not None:
            return cls._of(given.model_dump() | said, {}) if said else given
        found = found_settings()
        warn_of_unknown(found)
        return cls._of(said, found)

    @classmethod
    def _of(cls, said: dict[str, Any], found: dict[str, SettingValue]) -> Settings:
        weaker = {
            field: found[name] for field, name in variables().items() if name in found and field not in said
        }
        try:
            settings = cls(**said, **{field: each.value for field, each in weaker.items()})
        except ValidationError as exc:
            raise _as_settings_error(exc, weaker) from None
        return settings.model_copy(update=settings._from_files())

    @field_validator("base_dir")
    @classmethod
    def _base_dir_is_a_place(cls, value: str) -> str:
        if not value or "\0" in value:
            raise ValueError("must be the path of a directory")
        return _absolute(value)

    @field_validator("host", "namespace")
    @classmethod
    def _fits_into_a_key(cls, value: str) -> str:
        if not value or not value.isprintable() or FORBIDDEN_IN_NAMES & set(value):
            raise ValueError("must be a name without control characters and without { } |")
        return value

    @field_validator("allowed_roots", "message_roots", mode="before")
    @classmethod
    def _split_like_path(cls, value: Any) -> Any:
        parts = value.split(os.pathsep) if isinstance(value, str) else value
        return tuple(_absolute(part) for part in parts if part)

    @field_validator("audit_log", "log_file")
    @classmethod
    def _file_is_a_place(cls, value: str) -> str:
        return os.path.expanduser(value)

    @field_validator("plugins")
    @classmethod
    def _names_of_plugins(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if not all(name.isprintable() and name for name in names) or (
            len(names) > 1 and {ALL_PLUGINS, NO_PLUGINS} & set(names)
        ):
            raise ValueError("must be on, off, or names with commas between")
        return ",".join(names)

    @field_validator("log_level", mode="before")
    @classmethod
    def _as_loggers_write_it(cls, value: Any) -> Any:
        level = {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(str(value).upper(), str(value).upper())
        return level if level in LogLevel.__members__ else value

    @field_validator("log_format", "metrics_backend", mode="before")
    @classmethod
    def _in_lower_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("permission_mask", mode="before")
    @classmethod
    def _octal(cls, value: Any) -> Any:
        try:
            mask = int(value, 8) if isinstance(value, str) else int(value)
        except (TypeError, ValueError):
            mask = -1
        if not 0 <= mask <= 0o777 or not mask & stat.S_IRUSR:
            raise ValueError("must be octal permissions such as 0600, readable for the owner")
        return mask

    @field_validator("*", mode="before")
    @classmethod
    def _no_comment(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and cls.model_fields[str(info.field_name)].annotation not in _TEXT:
            return without_comment(value)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1: of a TOML file's ``max_age = true`` files would live for a second."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in _TRUTHS:
            raise ValueError("must not be true or false")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.host_live_seconds <= self.heartbeat_seconds:
            raise ValueError("TEMP_FILE_HOST_LIVE_FOR must be longer than TEMP_FILE_HEARTBEAT")
        for name in ("evict", "evict_memory"):
            above, down_to = f"{name}_above", f"{name}_down_to"
            if 0 < getattr(self, above) <= getattr(self, down_to):
                high, low = self.variable_of(above), self.variable_of(down_to)
                raise ValueError(f"{low} ({getattr(self, down_to)}) must be lower than {high}")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_password(value) if name and name.endswith("_url") and value else value

    def _from_files(self) -> dict[str, str]:
        files = {"redis_url": self.redis_url_file, "broker_url": self.broker_url_file}
        return {
            name: self._read(f"{name}_file", file)
            for name, file in files.items()
            if file and name not in self.model_fields_set
        }

    def _read(self, field: str, file: str) -> str:
        variable = self.variable_of(field)
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(
                f"{variable}={file!r}: cannot be read: {exc}", variable=variable, value=file
            ) from None
        if not text:
            raise SettingsError(f"{variable}={file!r}: the file is empty", variable=variable, value=file)
        return text

    def of_a_tool(self) -> Settings:
        """For our own programs, which act for others: looking deletes nothing, and what they register is not theirs."""
        return self.model_copy(update={"cleanup_on_start": False, "clear_on_shutdown": False})

    @property
    def effective_broker_url(self) -> str:
        return self.broker_url or self.redis_url

    @property
    def roots(self) -> tuple[str, ...]:
        """Directories below which a file may be deleted: base_dir first."""
        return _unique((self.base_dir, *(self.allowed_roots or (tempfile.gettempdir(),))))

    @property
    def homes(self) -> frozenset[str]:
        """Home directories and the like, which can be no root: a cleaner there would be a disaster."""
        return frozenset(
            os.path.realpath(path) for path in (os.path.expanduser("~"), "/home", "/root", "/Users")
        )

    @property
    def confined_roots(self) -> tuple[str, ...]:
        """The part of the roots that a message from the broker may name files in."""
        return _unique(self.message_roots or (self.base_dir,))

    @property
    def serves_status_page(self) -> bool:
        """It names files, so it is for this machine alone unless somebody said otherwise."""
        if self.status_page is not None:
            return self.status_page
        return is_loopback(self.metrics_address)

    @property
    def lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)

    def variable_of(self, field: str) -> str:
        return variables().get(field, field)


def variables() -> dict[str, str]:
    """Field name -> environment variable, of every setting."""
    aliases = {name: field.validation_alias for name, field in Settings.model_fields.items()}
    return {name: str(alias.choices[0]) for name, alias in aliases.items() if isinstance(alias, AliasChoices)}


def found_settings() -> dict[str, SettingValue]:
    """Variable -> what the environment and its files say of it, known to us or not."""
    return gather(os.environ, set(variables().values()))


def warn_of_unknown(names: Iterable[str]) -> None:
    """Warn of each ``TEMP_FILE_*`` variable that nothing reads: a typing error there is a setting lost."""
    known = {name.removeprefix(PREFIX) for name in variables().values() if name.startswith(PREFIX)}
    for name in names:
        if name.startswith(PREFIX) and (rest := name.removeprefix(PREFIX)) not in known:
            meant = difflib.get_close_matches(rest, known, n=1)
            hint = f"; did you mean {PREFIX}{meant[0]}?" if meant else ""
            warnings.warn(f"{name} is not a setting of Tempfleet{hint}", stacklevel=3)


def is_said(variable: str) -> bool:
    """Whether the environment or one of its files names *variable*."""
    return variable in found_settings()


def _absolute(path: str) -> str:
    """No shell has seen what stands in a file, or in quotes: ``~`` is somebody's home there too."""
    return os.path.abspath(os.path.expanduser(path))


def _unique(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(Path(path)) for path in paths))


def _as_settings_error(exc: ValidationError, weaker: dict[str, SettingValue]) -> SettingsError:
    first = exc.errors()[0]
    at = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        meant = difflib.get_close_matches(at, Settings.model_fields, n=1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        return SettingsError(f"{at} is not a setting of Tempfleet{hint}", variable=at)
    variable = variables().get(at, at)
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("bool_parsing", "bool_type"):
        said = "must be on or off"
    if not variable:
        return SettingsError(said)
    field = next((name for name, known in variables().items() if known == variable), "")
    value = weaker[field].value if field in weaker else first.get("input")  # as it was written, unit and all
    in_file = field in weaker and weaker[field].origin != ENVIRONMENT
    where = f" (from {weaker[field].origin})" if in_file else ""
    return SettingsError(
        f"{variable}={value!r}: {said[0].lower()}{said[1:]}{where}", variable=variable, value=value
    )
