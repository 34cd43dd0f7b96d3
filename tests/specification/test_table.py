"""docs/specification.md is true: its tests and files exist, and it omits no section and no test of this folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import ROOT

HERE = Path(__file__).parent
PAGE = (ROOT / "docs" / "specification.md").read_text()

ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)
    if re.match(r"\| \d", row)
]
SECTIONS = (
    "2.1", "2.2", "3.1", "3.2", "3.3", "4.1", "4.2", "4.3", "4.4", "5.1", "5.2", "6.1", "6.2", "6.3", "6.4", "6.5",
    "7.1", "7.2", "7.3", "7.4", "8.1", "8.2.1", "8.2.2", "8.2.3", "8.3", "8.4", "9.1", "9.2", "9.3", "9.4",
    "10", "1.0.0", "1.1.0", "1.2.0", "1.3.0",
)  # fmt: skip

TESTS_HERE = {
    name
    for file in HERE.glob("test_*.py")
    if file.name != Path(__file__).name
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


def test_every_row_has_a_section_a_statement_a_place_and_a_test() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        assert len(row) == 4, row
        assert all(row), row


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_covered(section: str) -> None:
    assert any(section in re.split(r"[, ]+", row[0]) for row in ROWS)


def test_every_test_that_is_named_exists() -> None:
    for *_, tests in ROWS:
        for name in re.findall(r"`([^`]+)`", tests):
            file, _, function = name.partition("::")
            if not file.startswith(("tests/", "examples/")):
                assert name in TESTS_HERE, name
            else:
                text = (ROOT / file).read_text()
                assert not function or f"def {function}(" in text, name


def test_every_test_of_this_folder_is_named() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert sorted(TESTS_HERE - named) == []


def test_every_place_exists() -> None:
    for _, _, where, _ in ROWS:
        for name in re.findall(r"`([a-z_/]+\.(?:py|lua|toml)|Dockerfile|[a-z_]+/[a-z_/]*)`", where):
            assert any((top / name).exists() for top in (ROOT, ROOT / "manager" / "tempfleet")), name


def test_a_test_is_named_after_its_section_and_stands_in_that_sections_file() -> None:
    for file in HERE.glob("test_[0-9]*.py"):
        number = re.match(r"test_(\d+(?:_\d+)*)_", file.name)
        assert number is not None
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE):
            assert name.startswith(f"test_{number[1]}_"), (file.name, name)
