"""Whatever a file is called, a log line stays one line and drives no terminal."""

from __future__ import annotations

import logging
import os

from hypothesis import given
from hypothesis import strategies as st

from tempfleet.logs import logger, printable

names = st.binary(min_size=1, max_size=60).map(os.fsdecode) | st.text(max_size=60)


@given(names)
def test_a_printable_name_has_nothing_that_a_log_or_a_terminal_obeys(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert len(f"{shown}.".splitlines()) == 1
    shown.encode()  # and can be written anywhere: no surrogate is left


@given(names, names)
def test_two_different_names_never_print_alike(one: str, other: str) -> None:
    assert (printable(one) == printable(other)) == (one == other)


def test_an_ordinary_name_stays_as_it_is() -> None:
    for name in ("/tmp/report.pdf", "/tmp/größe 5 µm.csv", "/tmp/日本語.txt", '/tmp/it\'s "quoted"'):
        assert printable(name) == name


def test_newlines_escapes_and_stray_bytes_come_out_as_escapes() -> None:
    assert printable("a\nb") == r"a\nb"
    assert printable("a\x1b[2Jb") == r"a\x1b[2Jb"
    assert printable(os.fsdecode(b"a\xffb")) == r"a\udcffb"
    assert printable("a\u2028b") == r"a\u2028b"
    assert printable("a\u202eb") == r"a\u202eb"
    assert printable("a\\nb") == r"a\\nb"


def test_no_handler_is_forced_on_a_host_application() -> None:
    assert logger.name == "tempfleet"
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET
    assert logger.propagate
