"""A setting can be set in several places; the strongest counts, and `tempfleet config` shows which it was."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path

import pytest

from tempfleet import Settings, SettingsError
from tempfleet.cli import main
from tempfleet.diagnostics.configuration import SettingInfo, explain_settings
from tempfleet.settings.units import size_bytes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose .env is read, as it is by default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMP_FILE_ENV_FILE")
    return tmp_path


def explained(variable: str, **values: object) -> SettingInfo:
    return next(info for info in explain_settings(**values) if info.variable == variable)


def config(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*args])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_an_option_goes_before_the_environment_before_an_env_file_before_toml_before_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(**values: object) -> tuple[float, str]:
        return Settings.load(**values).max_age_seconds, explained("TEMP_FILE_MAX_AGE", **values).origin

    assert seen() == (3600, "default")
    (home / "t.toml").write_text("max_age = 1\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    assert seen() == (1, "t.toml")
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=2\n")
    assert seen() == (2, ".env")
    monkeypatch.setenv("TEMP_FILE_MAX_AGE", "3")
    assert seen() == (3, "environment")
    assert seen(max_age_seconds=4) == (4, "option")


def test_an_env_file_may_name_the_toml_file_and_both_may_be_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "other").write_text("TEMP_FILE_CONFIG=t.toml\n")
    (home / "t.toml").write_text('temp_file_threads = 2\nTEMP_FILE_CLEANUP_THREADS = 3\nhost = "web-7"\n')
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", "other")
    with pytest.warns(UserWarning, match="TEMP_FILE_THREADS is not a setting"):
        settings = Settings.load()
    assert (settings.threads, settings.host) == (3, "web-7")


def test_an_inline_comment_in_an_env_file_is_no_part_of_the_value(home: Path) -> None:
    (home / ".env").write_text(
        "TEMP_FILE_QUARANTINE_MAX_BYTES=104857600  # 100MB\n"
        "export TEMP_FILE_MAX_AGE=60 # a minute\n"
        "TEMP_FILE_REDIS_URL='redis://h/0#part'\n"
    )
    settings = Settings.load()
    assert settings.quarantine_max_bytes == 100 * 1024**2
    assert settings.max_age_seconds == 60
    assert settings.redis_url == "redis://h/0#part"


def test_a_comment_that_another_reader_left_on_a_number_is_no_part_of_it(
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


def test_toml_has_lists_numbers_and_truths(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
@pytest.mark.parametrize("truth", ["true", "false"])
def test_a_truth_is_no_number(key: str, truth: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "t.toml").write_text(f"{key} = {truth}\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    with pytest.raises(SettingsError, match=r"must not be true or false \(from t\.toml\)") as refused:
        Settings.load()
    assert str(refused.value.variable).endswith(key.upper())


@pytest.mark.parametrize("variable", ["TEMP_FILE_CONFIG", "TEMP_FILE_ENV_FILE"])
def test_a_named_file_that_cannot_be_read_stops_the_start(
    variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nowhere")
    with pytest.raises(SettingsError, match="'nowhere': cannot be read: No such file") as refused:
        Settings.load()
    assert refused.value.variable == variable


def test_a_toml_file_that_is_none_stops_the_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "t.toml").write_text("max_age: 5\n")
    monkeypatch.setenv("TEMP_FILE_CONFIG", "t.toml")
    with pytest.raises(SettingsError, match=r"TEMP_FILE_CONFIG='t.toml': cannot be read: "):
        Settings.load()


def test_a_wrong_value_in_a_file_is_told_with_the_file(home: Path) -> None:
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=soon\n")
    with pytest.raises(SettingsError, match=r"TEMP_FILE_MAX_AGE='soon': .* \(from \.env\)"):
        Settings.load()
    assert Settings.load(max_age_seconds=5).max_age_seconds == 5


def test_a_strangers_env_file_in_the_working_directory_is_not_obeyed(home: Path) -> None:
    (home / ".env").write_text("TEMP_FILE_MAX_AGE=1\n")
    os.chmod(home / ".env", 0o666)
    with pytest.warns(UserWarning, match="others can write to it") as warned:
        assert Settings.load().max_age_seconds == 3600
    assert warned[0].filename == __file__


def test_a_named_env_file_is_the_callers_word(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "shared").write_text("TEMP_FILE_MAX_AGE=1\n")
    os.chmod(home / "shared", 0o666)
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", "shared")
    assert Settings.load().max_age_seconds == 1


def test_a_foreign_variable_in_an_env_file_is_nobodys_business(home: Path) -> None:
    (home / ".env").write_text("DATABASE_URL=x\nEMPTY\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.load()


def test_config_tells_value_origin_and_bounds_of_every_setting_and_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMP_FILE_REDIS_URL", "redis://bob:secret@h:1/0")
    monkeypatch.setenv("TEMP_FILE_PERMISSION_MASK", "0640")
    code, out, _ = config("--host", "web-9", "config", "--json", capsys=capsys)
    shown = json.loads(out)
    assert code == 0
    assert "secret" not in out
    assert shown["TEMP_FILE_REDIS_URL"]["value"] == "redis://bob:***@h:1/0"
    assert shown["TEMP_FILE_HOST"]["origin"] == "option"
    assert shown["TEMP_FILE_PERMISSION_MASK"]["value"] == "0640"
    assert shown["TEMP_FILE_MAX_AGE"] == {
        "variable": "TEMP_FILE_MAX_AGE", "value": "3600", "origin": "default", "default": "3600",
        "allowed": "> 0, <= 31622400",
    }  # fmt: skip
    assert all(info["allowed"] for info in shown.values())


def test_config_shows_what_is_in_force_where_a_setting_follows_from_others(
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


def test_config_tells_what_would_be_in_force_without_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMP_FILE_METRICS_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("TEMP_FILE_STATUS_PAGE", "on")
    page = explained("TEMP_FILE_STATUS_PAGE")
    assert (page.value, page.default, page.origin) == ("on", "off", "environment")


def test_config_for_people_shows_what_was_changed(
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


def test_a_wrong_value_ends_config_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMP_FILE_CLEANUP_THREADS", "none")
    code, out, err = config("config", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("tempfleet: TEMP_FILE_CLEANUP_THREADS='none': ") and err.count("\n") == 1


def test_a_line_of_an_env_file_that_says_nothing_stops_the_start_with_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.env"
    broken.write_text('# well\nTEMP_FILE_MAX_AGE=7\nTEMP_FILE_HOST="web\n')
    monkeypatch.setenv("TEMP_FILE_ENV_FILE", str(broken))
    with pytest.raises(SettingsError, match="line 3 is not NAME=value") as error:
        Settings.load()
    assert str(broken) in str(error.value)


def test_what_others_write_into_the_working_directorys_env_file_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMP_FILE_ENV_FILE", raising=False)
    (tmp_path / ".env").write_text('TEMP_FILE_MAX_AGE=7\nGREETING="hello\n')
    assert Settings.load().max_age_seconds == 7
    (tmp_path / ".env").write_text('TEMP_FILE_MAX_AGE="7\n')
    with pytest.raises(SettingsError, match="line 1"):
        Settings.load()
