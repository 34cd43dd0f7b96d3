"""
Sizes, durations and counts have the same form on the console, on the page and in messages. A name is one line and
cannot control a terminal.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempfleet.formatting import count, counted, duration, printable, size
from tempfleet.settings.units import size_bytes


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"), (13, "13 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (104_857_600, "100 MiB"),
        (1024**2 - 1, "1 MiB"), (1024**3, "1 GiB"), (5 * 1024**4, "5 TiB"), (2000 * 1024**4, "2000 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)  # fmt: skip
def test_a_size_has_a_binary_unit(amount: int, text: str) -> None:
    assert size(amount) == text


@given(st.integers(0, 2**50))
def test_settings_can_read_a_formatted_size(amount: int) -> None:
    assert size_bytes(size(amount)) == pytest.approx(amount, rel=0.06)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.0043, "4 ms"), (0.34, "340 ms"), (0.9996, "1 s"), (1, "1 s"), (4.2, "4.2 s"), (9.96, "10 s"),
        (59, "59 s"), (59.7, "1 min"), (60, "1 min"), (185, "3 min 5 s"), (3599.6, "1 h"), (7800, "2 h 10 min"),
        (21_590, "6 h"), (86_399, "1 d"), (273_600, "3 d 4 h"), (7 * 86_400 - 5, "7 d"),
    ],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0.001, 1e8))
def test_a_formatted_duration_is_at_most_five_percent_off(seconds: float) -> None:
    units = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
    words = duration(seconds).split()
    total = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert total == pytest.approx(seconds, rel=0.05, abs=0.0005)


def test_nouns_agree_with_their_number() -> None:
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [counted(n, "file was", "files were") for n in (1, 2)] == ["1 file was", "2 files were"]
    assert count(1_234_567) == "1,234,567"


names = st.binary(min_size=1, max_size=60).map(os.fsdecode) | st.text(max_size=60)


@given(names)
def test_a_printable_name_has_no_line_breaks_and_no_control_characters(name: str) -> None:
    text = printable(name)
    assert text.isprintable()
    assert len(f"{text}.".splitlines()) == 1
    # It contains no surrogate, so every file and terminal can print it.
    text.encode()


@given(names, names)
def test_different_names_have_different_printable_forms(name: str, other: str) -> None:
    assert (printable(name) == printable(other)) == (name == other)


def test_an_ordinary_name_is_not_changed() -> None:
    for name in ("/tmp/report.pdf", "/tmp/größe 5 µm.csv", "/tmp/日本語.txt", '/tmp/it\'s "quoted"'):
        assert printable(name) == name


def test_newlines_control_characters_and_invalid_bytes_are_escaped() -> None:
    assert printable("a\nb") == r"a\nb"
    assert printable("a\x1b[2Jb") == r"a\x1b[2Jb"
    assert printable(os.fsdecode(b"a\xffb")) == r"a\udcffb"
    assert printable("a\u2028b") == r"a\u2028b"
    assert printable("a\u202eb") == r"a\u202eb"
    assert printable("a\\nb") == r"a\\nb"
