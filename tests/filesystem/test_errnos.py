"""The explanations of errno names for people. Metrics and programs use the names."""

from __future__ import annotations

import errno
import os

import pytest

from tempfleet.filesystem import errnos
from tempfleet.filesystem.errnos import in_words, legend, meaning_of
from tempfleet.records import Outcome


@pytest.mark.parametrize("number", [*errnos._OUTCOMES, errno.EACCES, errno.EPERM, errno.EIO])
def test_every_error_that_keeps_a_file_has_an_explanation(number: int) -> None:
    outcome, reason = errnos.outcome_of(OSError(number, ""))
    if outcome is not Outcome.MISSING and reason in errno.errorcode.values():
        assert reason in errnos._MEANINGS
        assert in_words(reason).startswith(f"{reason}: ")


def test_other_errors_have_the_explanation_of_the_system_and_words_have_none() -> None:
    assert in_words("EXFULL") == f"EXFULL: {os.strerror(errno.EXFULL).lower()}"
    assert (in_words("symlink"), meaning_of("Elsewhere"), meaning_of("")) == ("symlink", ("", ""), ("", ""))


def test_a_legend_has_one_line_for_each_error_and_none_for_plain_words() -> None:
    lines = legend(["EPERM", "symlink", "EACCES", "EPERM", ""])
    assert [line.partition(":")[0] for line in lines] == ["EACCES", "EPERM"]
    assert all(line.endswith(".") for line in lines)
