"""Durations are read as people write them, and everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempfleet import Settings, SettingsError
from tempfleet.settings.units import parse_seconds

DAY, HOUR, MINUTE = 86400, 3600, 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("15m", 15 * MINUTE), ("2h", 2 * HOUR), ("7d", 7 * DAY), ("0.5 H", HOUR / 2),
        ("1h30m", 1.5 * HOUR), ("1h 30m", 1.5 * HOUR), (" 1d1s ", DAY + 1),
        ("1d2h3m4.5s", DAY + 2 * HOUR + 3 * MINUTE + 4.5),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_units_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = parse_seconds(f"{days}d{hours}h{minutes}m{seconds}s")
    assert total == days * DAY + hours * HOUR + minutes * MINUTE + seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5", "1w", "nan", "5 5", "1h30", "30m1h", "1h1h", "h", "1.m"]
)
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 90, 90s, 15m, 1h30m or 7d"):
        parse_seconds(text)


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if name.endswith("_seconds")])
def test_every_setting_that_is_a_duration_may_have_units(field: str) -> None:
    default = Settings.model_fields[field].default
    assert getattr(Settings.load(**{field: f"{default:g}s"}), field) == default


def test_max_age_may_have_units_and_keeps_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in (("7d", 7 * DAY), ("3600", 3600), ("0.5", 0.5), ("1h30m  # as agreed", 1.5 * HOUR)):
        monkeypatch.setenv("TEMP_FILE_MAX_AGE", text)
        assert Settings.load().max_age_seconds == seconds
    for text, reason in (
        ("soon", "must be a duration such as"),
        ("367d", "less than or equal to 31622400"),
        ("0s", "greater than 0"),
    ):
        monkeypatch.setenv("TEMP_FILE_MAX_AGE", text)
        with pytest.raises(SettingsError, match=f"TEMP_FILE_MAX_AGE='{text}': .*{reason}"):
            Settings.load()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("yes", DAY), ("On", DAY), ("true", DAY), ("off", 0), ("2h", 2 * HOUR)],
)
def test_a_host_that_calls_itself_ephemeral_is_forgotten_after_a_day_unless_it_names_a_time(
    value: object, seconds: float
) -> None:
    assert Settings.load(host_ephemeral_seconds=value).host_ephemeral_seconds == seconds
