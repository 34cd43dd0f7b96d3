"""The README is true: its quick start runs, its table is the settings, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from tempfleet.cli import main
from tempfleet.settings.settings import variables

README = (ROOT / "README.md").read_text()


def test_the_quick_start_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    here = code.replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", here],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("[FileRecord(path=")
    assert done.stdout.endswith(" 0 deleted\n")


def test_the_quick_start_is_short() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_the_table_of_settings_is_that_of_the_code() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)
    assert sorted(table) == sorted(variables().values())


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    tempfleet ([a-z]+)", README, re.MULTILINE))))
def test_the_commands_that_are_shown_exist(command: str) -> None:
    assert command in main.commands or main.get_command(None, command)  # type: ignore[arg-type]


def test_the_folders_that_are_shown_exist() -> None:
    for folder in re.findall(r"^    ((?:manager|tasks|tests|examples)/\S*)", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
