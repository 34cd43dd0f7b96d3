"""Every variable: its default, its bounds, and the error that an invalid value raises."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from tempfleet import SettingsError, TempFileManager
from tempfleet.settings.settings import (
    LONGEST_TTL_SECONDS,
    Compression,
    InUse,
    LogLevel,
    OnPluginFailure,
    Quota,
    Settings,
    variables,
)

DEFAULTS = {
    "TEMP_FILE_BASE_DIR": os.path.join(tempfile.gettempdir(), f"tempfleet-{os.getuid()}"),
    "TEMP_FILE_MAX_AGE": 3600,
    "TEMP_FILE_CLEANUP_INTERVAL": 300,
    "TEMP_FILE_TIMER_INTERVAL": 60,
    "TEMP_FILE_CLEANUP_BATCH_SIZE": 500,
    "TEMP_FILE_CLEANUP_THREADS": 4,
    "TEMP_FILE_CLEANUP_TIMEOUT": 30,
    "TEMP_FILE_LEASE": 120,
    "TEMP_FILE_RETRY_DELAY": 5,
    "TEMP_FILE_RETRY_MAX_DELAY": 3600,
    "TEMP_FILE_MAX_ATTEMPTS": 25,
    "TEMP_FILE_REDIS_URL": "redis://localhost:6379/0",
    "TEMP_FILE_REDIS_TIMEOUT": 5,
    "TEMP_FILE_BROKER_URL": None,
    "TEMP_FILE_HOST": socket.gethostname(),
    "TEMP_FILE_NAMESPACE": "tempfleet",
    "TEMP_FILE_ALLOWED_ROOTS": (),
    "TEMP_FILE_MESSAGE_ROOTS": (),
    "TEMP_FILE_REMOTE_CLEAR": False,
    "TEMP_FILE_HEARTBEAT": 15,
    "TEMP_FILE_HOST_LIVE_FOR": 60,
    "TEMP_FILE_HOST_EPHEMERAL": 0,
    "TEMP_FILE_OWNER_CHECK": True,
    "TEMP_FILE_PERMISSION_MASK": 0o600,
    "TEMP_FILE_SECURE_DELETE": False,
    "TEMP_FILE_IN_USE": InUse.KEEP,
    "TEMP_FILE_REMOVE_EMPTY_PARENTS": False,
    "TEMP_FILE_QUARANTINE": 0,
    "TEMP_FILE_PLUGINS": "on",
    "TEMP_FILE_PLUGIN_TIMEOUT": 5,
    "TEMP_FILE_PLUGIN_FAILED": OnPluginFailure.KEEP,
    "TEMP_FILE_COMPRESS_AFTER": 0,
    "TEMP_FILE_COMPRESSION": Compression.ASKED,
    "ENABLE_TEMP_FILE_METRICS": True,
    "METRICS_BACKEND": "prometheus",
    "PROMETHEUS_PORT": 9090,
    "TEMP_FILE_METRICS_ADDRESS": "127.0.0.1",
    "TEMP_FILE_METRICS_ALL_VOLUMES": False,
    "TEMP_FILE_STATUS_PAGE": None,
}

GOOD = {
    "TEMP_FILE_CONFIG": ("/dev/null", "/dev/null"),
    "TEMP_FILE_ENV_FILE": ("/dev/null", "/dev/null"),
    "TEMP_FILE_BASE_DIR": ("/srv/temp", "/srv/temp"),
    "TEMP_FILE_MAX_AGE": ("0.5", 0.5),
    "TEMP_FILE_CLEANUP_INTERVAL": ("5m", 300),
    "TEMP_FILE_TIMER_INTERVAL": ("1", 1),
    "TEMP_FILE_CLEANUP_BATCH_SIZE": ("1000", 1000),
    "TEMP_FILE_CLEANUP_THREADS": ("64", 64),
    "TEMP_FILE_CLEANUP_TIMEOUT": ("2.5", 2.5),
    "TEMP_FILE_LEASE": ("0.1", 0.1),
    "TEMP_FILE_RETRY_DELAY": ("1", 1),
    "TEMP_FILE_RETRY_MAX_DELAY": ("60", 60),
    "TEMP_FILE_MAX_ATTEMPTS": ("1", 1),
    "TEMP_FILE_REDIS_TIMEOUT": ("2.5", 2.5),
    "TEMP_FILE_REDIS_URL": ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    "TEMP_FILE_BROKER_URL": ("amqp://broker", "amqp://broker"),
    "TEMP_FILE_HOST": ("web-1", "web-1"),
    "TEMP_FILE_NAMESPACE": ("team", "team"),
    "TEMP_FILE_ALLOWED_ROOTS": ("/srv/a:/srv/b", ("/srv/a", "/srv/b")),
    "TEMP_FILE_MESSAGE_ROOTS": ("/srv/a::", ("/srv/a",)),
    "TEMP_FILE_REMOTE_CLEAR": ("1", True),
    "TEMP_FILE_HEARTBEAT": ("5", 5),
    "TEMP_FILE_HOST_LIVE_FOR": ("20", 20),
    "TEMP_FILE_HOST_EPHEMERAL": ("1d", 86400),
    "TEMP_FILE_OWNER_CHECK": ("false", False),
    "TEMP_FILE_PERMISSION_MASK": ("0640", 0o640),
    "TEMP_FILE_SECURE_DELETE": ("true", True),
    "TEMP_FILE_IN_USE": ("strict", InUse.STRICT),
    "TEMP_FILE_REMOVE_EMPTY_PARENTS": ("on", True),
    "TEMP_FILE_QUARANTINE": ("1h30m  # long enough", 5400),
    "TEMP_FILE_QUARANTINE_MAX_BYTES": ("1GB", 1 << 30),
    "TEMP_FILE_COMPRESS_AFTER": ("1d", 86400),
    "TEMP_FILE_COMPRESS_MIN_SIZE": ("1MB", 1 << 20),
    "TEMP_FILE_COMPRESSION": ("all", Compression.ALL),
    "TEMP_FILE_AUDIT_LOG": ("/var/log/audit.jsonl", "/var/log/audit.jsonl"),
    "TEMP_FILE_REDIS_URL_FILE": ("", ""),
    "TEMP_FILE_BROKER_URL_FILE": ("", ""),
    "TEMP_FILE_SIZE_LIMIT": ("104857600  # 100MB", 104857600),
    "MAX_TEMP_FILES": ("10000", 10000),
    "TEMP_FILE_MAX_BYTES": ("100MB", 104857600),
    "TEMP_FILE_TAG_MAX_FILES": ("7", 7),
    "TEMP_FILE_TAG_MAX_BYTES": ("7k", 7168),
    "TEMP_FILE_HOST_MAX_FILES": ("7", 7),
    "TEMP_FILE_HOST_MAX_BYTES": ("7", 7),
    "TEMP_FILE_QUOTA": ("evict", Quota.EVICT),
    "TEMP_FILE_EVICTION_POLICY": ("largest", "largest"),
    "TEMP_FILE_EVICT_ABOVE": ("90  # percent", 90),
    "TEMP_FILE_EVICT_DOWN_TO": ("70", 70),
    "TEMP_FILE_EVICT_MEMORY_ABOVE": ("95", 95),
    "TEMP_FILE_EVICT_MEMORY_DOWN_TO": ("0", 0),
    "TEMP_FILE_PLUGINS": ("archive, legal", "archive,legal"),
    "TEMP_FILE_PLUGIN_TIMEOUT": ("60", 60),
    "TEMP_FILE_PLUGIN_FAILED": ("go-on", OnPluginFailure.GO_ON),
    "TEMP_FILE_CLEANUP_ON_START": ("on", True),
    "TEMP_FILE_CLEAR_ON_SHUTDOWN": ("on", True),
    "LOG_LEVEL": ("warn", LogLevel.WARNING),
    "LOG_FORMAT": ("JSON", "json"),
    "LOG_FILE": ("/var/log/tempfleet.log", "/var/log/tempfleet.log"),
    "ENABLE_TEMP_FILE_METRICS": ("false", False),
    "METRICS_BACKEND": ("prometheus", "prometheus"),
    "PROMETHEUS_PORT": ("0", 0),
    "TEMP_FILE_METRICS_ADDRESS": ("::1", "::1"),
    "TEMP_FILE_METRICS_ALL_VOLUMES": ("1", True),
    "TEMP_FILE_STATUS_PAGE": ("1", True),
}

BAD = {
    "TEMP_FILE_BASE_DIR": [""],
    "TEMP_FILE_MAX_AGE": ["", "an hour", "0", "0s", "-1", "nan", "inf", "367d", str(LONGEST_TTL_SECONDS + 1)],
    "TEMP_FILE_CLEANUP_INTERVAL": ["0", "-5", "nan", "inf", "5w", "30m1h", "1h30", "367d"],
    "TEMP_FILE_TIMER_INTERVAL": ["0", "inf", "1e12"],
    "TEMP_FILE_CLEANUP_BATCH_SIZE": ["0", "1001", "1.5", "many"],
    "TEMP_FILE_CLEANUP_THREADS": ["0", "65", "-1"],
    "TEMP_FILE_CLEANUP_TIMEOUT": ["0", "nan", "inf", "1e12"],
    "TEMP_FILE_LEASE": ["0.05", "3601", "nan"],
    "TEMP_FILE_RETRY_DELAY": ["0", "inf", "1e12"],
    "TEMP_FILE_RETRY_MAX_DELAY": ["0", "nan", "inf", "1e12"],
    "TEMP_FILE_MAX_ATTEMPTS": ["0", "few"],
    "TEMP_FILE_REDIS_TIMEOUT": ["0", "0.05", "3601", "nan"],
    "TEMP_FILE_HOST": ["", "a|b", "a{b", "a\nb"],
    "TEMP_FILE_NAMESPACE": ["", "a}b"],
    "TEMP_FILE_REMOTE_CLEAR": ["perhaps"],
    "TEMP_FILE_HEARTBEAT": ["0", "nan", "1e12"],
    "TEMP_FILE_HOST_LIVE_FOR": ["0", "inf", "1e12"],
    "TEMP_FILE_HOST_EPHEMERAL": ["-1", "soon", "1e12"],
    "TEMP_FILE_OWNER_CHECK": ["sometimes"],
    "TEMP_FILE_PERMISSION_MASK": ["rw-------", "0900", "1777", "0200", "-1", ""],
    "TEMP_FILE_SECURE_DELETE": ["2"],
    "TEMP_FILE_IN_USE": ["ask"],
    "TEMP_FILE_REMOVE_EMPTY_PARENTS": ["perhaps"],
    "TEMP_FILE_QUARANTINE": ["-1", "inf"],
    "TEMP_FILE_COMPRESS_AFTER": ["-1", "never"],
    "TEMP_FILE_COMPRESS_MIN_SIZE": ["-1", "a lot"],
    "TEMP_FILE_COMPRESSION": ["yes"],
    "TEMP_FILE_REDIS_URL_FILE": ["/no/such/file", "/dev/null"],
    "TEMP_FILE_BROKER_URL_FILE": ["/no/such/file", "/dev/null"],
    "ENABLE_TEMP_FILE_METRICS": ["maybe"],
    "TEMP_FILE_SIZE_LIMIT": ["-1", "much"],
    "MAX_TEMP_FILES": ["-1", "1.5", "10MB"],
    "TEMP_FILE_QUOTA": ["hard"],
    "TEMP_FILE_EVICT_ABOVE": ["-1", "100", "90%", "0.9"],
    "TEMP_FILE_EVICT_DOWN_TO": ["-1", "99"],
    "TEMP_FILE_EVICT_MEMORY_ABOVE": ["100"],
    "TEMP_FILE_EVICT_MEMORY_DOWN_TO": ["-1"],
    "TEMP_FILE_PLUGINS": ["", "archive,", "off,archive", "a\nb"],
    "TEMP_FILE_PLUGIN_TIMEOUT": ["0", "61", "inf"],
    "TEMP_FILE_PLUGIN_FAILED": ["delete"],
    "LOG_LEVEL": ["loud", ""],
    "LOG_FORMAT": ["xml"],
    "METRICS_BACKEND": ["statsd"],
    "PROMETHEUS_PORT": ["-1", "65536", "http"],
    "TEMP_FILE_METRICS_ALL_VOLUMES": ["some"],
    "TEMP_FILE_STATUS_PAGE": ["for me"],
    "TEMP_FILE_QUARANTINE_MAX_BYTES": ["-1", "1.5.0", "MB", "5 parsecs", ""],
}

OLDER_NAMES = {
    "MAX_TEMP_FILES", "LOG_LEVEL", "LOG_FORMAT", "LOG_FILE",
    "ENABLE_TEMP_FILE_METRICS", "METRICS_BACKEND", "PROMETHEUS_PORT",
}  # fmt: skip
"""The variables of the specification that have no prefix."""


def value_of(settings: Settings, variable: str) -> object:
    field = {name: field for field, name in variables().items()}[variable]
    return getattr(settings, field)


def test_every_variable_is_tested_here() -> None:
    assert set(GOOD) == set(variables().values())
    assert all(name.startswith("TEMP_FILE_") or name in OLDER_NAMES for name in GOOD)


def test_a_switch_must_be_on_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMP_FILE_OWNER_CHECK", "sometimes")
    with pytest.raises(SettingsError, match="TEMP_FILE_OWNER_CHECK='sometimes': must be on or off"):
        Settings.load()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TEMP_FILE_PERMISSION_MASK", "0640"),
        ("LOG_LEVEL", "warn"),
        ("LOG_FORMAT", "JSON"),
        ("PROMETHEUS_PORT", "0"),
    ],
)
def test_an_inline_comment_is_removed_before_a_value_is_read(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{value}  # as agreed")
    assert value_of(Settings.load(), variable) == GOOD[variable][1]


def test_a_url_that_is_not_set_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis", "broker"):
        (tmp_path / name).write_text(f"redis://me:secret@{name}/0\n")
        monkeypatch.setenv(f"TEMP_FILE_{name.upper()}_URL_FILE", str(tmp_path / name))
    settings = Settings.load()
    assert (settings.redis_url, settings.broker_url) == (
        "redis://me:secret@redis/0",
        "redis://me:secret@broker/0",
    )
    assert Settings.load(redis_url="redis://given/0").redis_url == "redis://given/0"
    assert Settings.load(settings, host="web-9").redis_url == settings.redis_url


@pytest.mark.parametrize(("variable", "default"), DEFAULTS.items())
def test_an_unset_variable_has_its_default(variable: str, default: object) -> None:
    assert value_of(Settings.load(), variable) == default


@pytest.mark.parametrize("variable", GOOD)
def test_a_variable_is_read(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = GOOD[variable]
    monkeypatch.setenv(variable, text)
    assert value_of(Settings.load(), variable) == value


@pytest.mark.parametrize(
    ("variable", "text"), [(variable, text) for variable, texts in BAD.items() for text in texts]
)
def test_an_invalid_value_stops_the_start_and_names_the_variable(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert error.value.variable == variable
    assert error.value.value == text
    assert str(error.value).startswith(f"{variable}={text!r}: ")
    assert len(str(error.value).splitlines()) == 1


def test_the_error_of_an_invalid_mask_shows_a_valid_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMP_FILE_PERMISSION_MASK", "rw-------")
    with pytest.raises(SettingsError, match="octal permissions such as 0600"):
        Settings.load()


def test_settings_that_contradict_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="TEMP_FILE_HOST_EPHEMERAL must be longer"):
        Settings.load(host_ephemeral_seconds=60)
    monkeypatch.setenv("TEMP_FILE_HEARTBEAT", "60")
    with pytest.raises(SettingsError, match="TEMP_FILE_HOST_LIVE_FOR must be longer"):
        Settings.load()


@pytest.mark.parametrize("mark", ["TEMP_FILE_EVICT", "TEMP_FILE_EVICT_MEMORY"])
def test_a_low_mark_must_be_below_its_high_mark(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{mark}_ABOVE", "70")
    with pytest.raises(SettingsError, match=rf"^{mark}_DOWN_TO \(80\) must be lower than {mark}_ABOVE$"):
        Settings.load()
    monkeypatch.setenv(f"{mark}_DOWN_TO", "70")
    with pytest.raises(SettingsError, match=rf"^{mark}_DOWN_TO \(70\) must be lower than {mark}_ABOVE$"):
        Settings.load()
    monkeypatch.setenv(f"{mark}_DOWN_TO", "69")
    Settings.load()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("TEMP_FILE_MAXAGE", "TEMP_FILE_MAX_AGE"),
        ("TEMP_FILE_REDIS_URI", "TEMP_FILE_REDIS_URL"),
        ("TEMP_FILE_CLEANUP_THREAD", "TEMP_FILE_CLEANUP_THREADS"),
    ],
)
def test_the_warning_about_an_unknown_variable_suggests_the_closest_name(
    typed: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(typed, "1")
    with pytest.warns(UserWarning, match=f"{typed} is not a setting of Tempfleet; did you mean {meant}?"):
        Settings.load()


def test_the_warning_points_at_the_line_that_loaded_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMP_FILE_MAXAGE", "1")
    with pytest.warns(UserWarning) as warnings:
        Settings.load()
    assert warnings[0].filename == __file__


def test_the_warning_about_an_unknown_variable_suggests_nothing_if_no_name_is_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMP_FILE_QZXKJVWQ", "1")
    with pytest.warns(UserWarning) as warnings:
        Settings.load()
    assert "did you mean" not in str(warnings[0].message)


def test_arguments_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMP_FILE_MAX_AGE", "100")
    assert Settings.load(max_age_seconds=5).max_age_seconds == 5
    assert Settings.load(max_age_seconds=None).max_age_seconds == 100


def test_a_relative_base_directory_is_resolved_when_settings_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(base_dir="data", allowed_roots=("more",))
    monkeypatch.chdir("/")
    assert settings.base_dir == str(tmp_path / "data")
    assert settings.roots == (str(tmp_path / "data"), str(tmp_path / "more"))


def test_settings_are_frozen_and_can_be_pickled() -> None:
    settings = Settings.load(host="web-1")
    with pytest.raises(ValidationError):
        settings.host = "web-2"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_messages_are_confined_to_the_base_directory_by_default() -> None:
    settings = Settings.load(base_dir="/srv/temp")
    assert settings.confined_roots == ("/srv/temp",)
    assert settings.roots == ("/srv/temp", tempfile.gettempdir())
    assert Settings.load(message_roots="/srv/a").confined_roots == ("/srv/a",)


def test_the_broker_is_the_registrys_redis_by_default() -> None:
    assert Settings.load(redis_url="redis://a").effective_broker_url == "redis://a"
    assert Settings.load(redis_url="redis://a", broker_url="amqp://b").effective_broker_url == "amqp://b"


@pytest.mark.parametrize(
    "url", ["redis://bob:secret@h:1/0", "redis://:secret@h", "unix://:secret@/s", "redis://h?password=secret"]
)
def test_settings_never_show_a_password(url: str) -> None:
    settings = Settings.load(redis_url=url, broker_url=url)
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)
    assert settings.redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "",
        "http://h",
        "redis://h:port",
        "redis://:secret@h?db=x&password=secret",
        "redis//:secret@h",
    ],
)
def test_an_invalid_redis_url_is_a_settings_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        TempFileManager(tmp_path, redis_url=url)
    assert error.value.variable == "TEMP_FILE_REDIS_URL"
    assert "secret" not in str(error.value)
    assert "redis://" in str(error.value)


def test_the_error_of_a_misspelt_name_suggests_the_closest_name() -> None:
    with pytest.raises(SettingsError, match=r"max_agee is not a setting .*; did you mean max_age_seconds"):
        Settings.load(max_agee=3)
    with pytest.raises(ValidationError):
        Settings(base_dirr="/x")


def test_a_tilde_is_expanded_to_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEMP_FILE_BASE_DIR", "~/files")
    monkeypatch.setenv("TEMP_FILE_ALLOWED_ROOTS", f"~/more{os.pathsep}/srv")
    monkeypatch.setenv("LOG_FILE", "~/log")
    settings = Settings.load()
    assert settings.base_dir == str(tmp_path / "files")
    assert settings.allowed_roots == (str(tmp_path / "more"), "/srv")
    assert settings.log_file == str(tmp_path / "log")


def test_words_may_be_in_upper_or_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_BACKEND", "Prometheus")
    monkeypatch.setenv("LOG_FORMAT", "JSON")
    settings = Settings.load()
    assert (settings.metrics_backend, settings.log_format) == ("prometheus", "json")
