"""The README is true: its quick start prints the output shown there, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from support import ROOT, without_times
from tempfleet.cli import main

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(code)


def run(*command: str, env: dict[str, str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (result.returncode, result.stderr) == (0, ""), command
    return result.stdout


@pytest.mark.process
def test_the_quick_start_runs_and_prints_the_output_shown(tmp_path: Path) -> None:
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    code = block("python").replace("/tmp/", f"{tmp_path}/")
    assert run(sys.executable, "-W", "error", "-c", code, env=env) == ""
    session = block("console").replace("/tmp/", f"{tmp_path}/")
    commands = re.findall(r"^\$ (.*)$", session, re.MULTILINE)
    output = re.sub(r"^\$ .*\n", "", session, flags=re.MULTILINE)
    printed = run("bash", "-euc", "\n".join(commands), env=env)
    assert without_times(printed) == without_times(output)
    assert {path.name for path in tmp_path.glob("quick/files/[!.]*")} == {"chart.svg", "report.pdf"}


def test_the_quick_start_is_short() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 12


def test_the_guarantees_are_on_the_second_screen() -> None:
    lines = README.splitlines()
    assert lines.index("## What is guaranteed") <= 100


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    tempfleet ([a-z]+)", README, re.MULTILINE))))
def test_every_command_shown_exists(command: str) -> None:
    assert main.get_command(click.Context(main), command)
