"""A setting can be set in several places. The strongest source wins, and `tempfleet config` shows which it was."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest

from tempfleet import Settings, SettingsError
from tempfleet.cli import main
from tempfleet.diagnostics.configuration import SettingInfo, explain_settings
from tempfleet.settings.settings import variables
from tempfleet.settings.units import size_bytes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the working directory. Its .env is read, as by default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMP_FILE_ENV_FILE")
    return tmp_path


def explained(variable: str, **values: object) -> SettingInfo:
    return next(info for info in explain_settings(**values) if info.variable == variable)


def config(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as error:
        main([*args])
    out, err = capsys.readouterr()
    return int(error.value.code or 0), out, err


def test_the_order_of_sources_is_option_environment_env_file_toml_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(**values: object) -> tuple[float, str]:
        return Settings.load(**values).max_age_seconds, explained("TEMP_FILE_MAX_AGE", **values).origin

    assert loaded() == (3600, "default")
    (home / "t.toml").write_text("max_age = 1\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    assert loaded() == (1, "t.toml")
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=2\n")
    assert loaded() == (2, ".env")
    monkeypatch.setenv("TEMP_FILE_MAX_AGE", "3")
    assert loaded() == (3, "environment")
    assert loaded(max_age_seconds=4) == (4, "option")


def test_the_env_file_can_be_chosen_and_can_name_the_toml_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "other").write_text("TEMP_FILE_CONFIG=t.toml\n")
    (home / "t.toml").write_text('temp_file_threads = 2\nTEMP_FILE_CLEANUP_THREADS = 3\nhost = "web-7"\n')
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", "other")
    with pytest.warns(UserWarning, match="TEMP_FILE_THREADS is not a setting"):
        settings = Settings.load()
    assert (settings.threads, settings.host) == (3, "web-7")


def test_an_inline_comment_in_an_env_file_is_removed(home: Path) -> None:
    (home / ".env").write_text(
        "TEMP_FILE_QUARANTINE_MAX_BYTES=104857600  # 100MB\n"
        "export TEMP_FILE_MAX_AGE=60 # a minute\n"
        "TEMP_FILE_REDIS_URL='redis://h/0#part'\n"
    )
    settings = Settings.load()
    assert settings.quarantine_max_bytes == 100 * 1024**2
    assert settings.max_age_seconds == 60
    assert settings.redis_url == "redis://h/0#part"


def test_an_inline_comment_after_a_number_or_a_switch_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE_MAX_BYTES", "104857600  # 100MB")
    monkeypatch.setenv("TEMP_FILE_SECURE_DELETE", "true # the auditors want it")
    monkeypatch.setenv("TEMP_FILE_NAMESPACE", "team # 5")
    settings = Settings.load()
    assert settings.quarantine_max_bytes == 104857600
    assert settings.secure_delete
    assert settings.namespace == "team # 5"


@pytest.mark.parametrize(
    ("text", "amount"),
    [("100MB", 104857600), ("100 MiB", 104857600), ("100m", 104857600), ("0.5kB", 512), ("7", 7), (7, 7),
     ("2TB", 2 << 40), ("3b", 3), ("0.1", 1), ("0", 0)],
)  # fmt: skip
def test_a_size_is_a_number_or_has_a_unit_of_1024(text: object, amount: int) -> None:
    assert size_bytes(text) == amount


def test_toml_values_can_be_lists_numbers_and_booleans(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "t.toml").write_text(
        'allowed_roots = ["/srv/a", "/srv/b"]\npermission_mask = 0o640\nsecure_delete = true\nlease = 2.5\n'
    )
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    settings = Settings.load()
    assert settings.allowed_roots == ("/srv/a", "/srv/b")
    assert (settings.permission_mask, settings.secure_delete, settings.lease_seconds) == (0o640, True, 2.5)


@pytest.mark.parametrize(
    "key", ["max_age", "size_limit", "max_temp_files", "prometheus_port", "permission_mask"]
)
@pytest.mark.parametrize("boolean", ["true", "false"])
def test_a_boolean_is_refused_as_a_number(
    key: str, boolean: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "t.toml").write_text(f"{key} = {boolean}\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    with pytest.raises(SettingsError, match=r"must not be true or false \(from t\.toml\)") as error:
        Settings.load()
    assert str(error.value.variable).endswith(key.upper())


@pytest.mark.parametrize("variable", ["TEMP_FILE_CONFIG", "TEMP_FILE_ENV_FILE"])
def test_a_named_file_that_cannot_be_read_stops_the_start(
    variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nowhere")
    with pytest.raises(SettingsError, match="'nowhere': cannot be read: No such file") as error:
        Settings.load()
    assert error.value.variable == variable


def test_an_invalid_toml_file_stops_the_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "t.toml").write_text("max_age: 5\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    with pytest.raises(SettingsError, match=r"TEMP_FILE_CONFIG='t.toml': cannot be read: "):
        Settings.load()


def test_the_error_of_an_invalid_value_names_its_file(home: Path) -> None:
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=soon\n")
    with pytest.raises(SettingsError, match=r"TEMP_FILE_MAX_AGE='soon': .* \(from \.env\)"):
        Settings.load()
    assert Settings.load(max_age_seconds=5).max_age_seconds == 5


def test_an_env_file_that_others_can_write_to_is_not_read_by_default(home: Path) -> None:
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=1\n")
    os.chmod(home / ".env", 0o666)
    with pytest.warns(UserWarning, match="others can write to it") as records:
        assert Settings.load().max_age_seconds == 3600
    assert records[0].filename == __file__


def test_a_chosen_env_file_is_read_even_if_others_can_write_to_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "shared").write_text("TEMP_FILE_MAX_AGE=1\n")
    os.chmod(home / "shared", 0o666)
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", "shared")
    assert Settings.load().max_age_seconds == 1


def test_foreign_variables_in_an_env_file_cause_no_warning(home: Path) -> None:
    (home / ".env").write_text("DATABASE_URL=x\nEMPTY\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.load()


def test_config_prints_value_origin_and_bounds_of_every_setting_and_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMP_FILE_REDIS_URL", "redis://bob:secret@h:1/0")
    monkeypatch.setenv("TEMP_FILE_BROKER_URL", "rediss://h/1?password=secret")
    monkeypatch.setenv("TEMP_FILE_PERMISSION_MASK", "0640")
    code, out, _ = config("--host", "web-9", "config", "--json", capsys=capsys)
    _, table, _ = config("--host", "web-9", "config", capsys=capsys)
    shown = json.loads(out)
    assert code == 0
    assert shown.keys() == set(variables().values())
    assert "secret" not in out + table
    assert re.search("^TEMP_FILE_HOST +web-9", table, re.MULTILINE)
    assert shown["TEMP_FILE_REDIS_URL"]["value"] == "redis://bob:***@h:1/0"
    assert shown["TEMP_FILE_HOST"]["origin"] == "option"
    assert shown["TEMP_FILE_PERMISSION_MASK"]["value"] == "0640"
    assert shown["TEMP_FILE_MAX_AGE"] == {
        "variable": "TEMP_FILE_MAX_AGE", "value": "3600", "origin": "default", "default": "3600",
        "allowed": "> 0, <= 31622400",
    }  # fmt: skip
    assert all(info["allowed"] for info in shown.values())


def test_config_shows_defaults_that_follow_from_other_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = str(tmp_path / "base")
    monkeypatch.setenv("TEMP_FILE_REDIS_URL", "redis://bob:secret@h:1/0")

    def value(variable: str) -> str:
        info = explained(variable, base_dir=base)
        assert (info.origin, info.default) == ("default", info.value)
        return info.value

    assert value("TEMP_FILE_BROKER_URL") == "redis://bob:***@h:1/0"
    assert value("TEMP_FILE_ALLOWED_ROOTS") == f"{base}{os.pathsep}{tempfile.gettempdir()}"
    assert value("TEMP_FILE_MESSAGE_ROOTS") == base
    assert value("TEMP_FILE_STATUS_PAGE") == "on"
    assert value("TEMP_FILE_AUDIT_LOG") == f"{base}/.tempfleet-{os.geteuid()}/audit.log"


def test_config_shows_the_default_of_a_changed_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMP_FILE_METRICS_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("TEMP_FILE_STATUS_PAGE", "on")
    page = explained("TEMP_FILE_STATUS_PAGE")
    assert (page.value, page.default, page.origin) == ("on", "off", "environment")


def test_config_changed_lists_only_changed_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMP_FILE_IN_USE", "strict")
    code, out, _ = config("config", "--changed", capsys=capsys)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["SETTING", "TEMP_FILE_ENV_FILE", "TEMP_FILE_IN_USE"]
    assert lines[2].split() == [
        "TEMP_FILE_IN_USE",
        "strict",
        "environment",
        "keep",
        "|",
        "strict",
        "|",
        "delete",
    ]


def test_an_invalid_value_ends_config_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMP_FILE_CLEANUP_THREADS", "none")
    code, out, err = config("config", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("tempfleet: TEMP_FILE_CLEANUP_THREADS='none': ") and err.count("\n") == 1


def test_an_invalid_line_of_an_env_file_stops_the_start_with_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.env"
    broken.write_text('# well\nTEMP_FILE_MAX_AGE=7\nTEMP_FILE_HOST="web\n')
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", str(broken))
    with pytest.raises(SettingsError, match="line 3 is not NAME=value") as error:
        Settings.load()
    assert str(broken) in str(error.value)


def test_an_invalid_line_with_a_foreign_variable_does_not_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMP_FILE_ENV_FILE", raising=False)
    (tmp_path / ".env").write_text('TEMP_FILE_MAX_AGE=7\nGREETING="hello\n')
    assert Settings.load().max_age_seconds == 7
    (tmp_path / ".env").write_text('TEMP_FILE_MAX_AGE="7\n')
    with pytest.raises(SettingsError, match="line 1"):
        Settings.load()
