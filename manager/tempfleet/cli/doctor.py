"""``doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from ..diagnostics import Level, diagnose
from ..formatting import counted
from .console import Console, pass_console
from .output import Table

STATUS = {Level.OK: 0, Level.WARNING: 1, Level.ERROR: 2}
COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what is well.")
@pass_console
def doctor(console: Console, everything: bool) -> int:
    """
    Look for what is wrong, here and in Redis, and say what to do about it.

    Permissions, disk space and inodes, who holds a file that does not go, the registry's size and balance, files that
    nobody registered, leases that ran out, silent hosts, Redis's policy, persistence and memory, and clocks. Changes
    nothing.

    \b
      tempfleet doctor
      tempfleet doctor --all --json
    \b
    Exit status:
      0  all is well
      1  there are warnings
      2  there are errors
    """
    found = list(diagnose(console.registry, console.settings))
    shown = [finding for finding in found if everything or finding.level is not Level.OK]
    rows = [
        (Text(finding.level.value, COLOURS[finding.level]), finding.check, finding.said, finding.todo)
        for finding in shown
    ]
    console.answer(
        {"findings": [asdict(finding) for finding in shown]},
        Table(("Level", "Check", "What is so", "What to do"), rows)
        if rows
        else f"{counted(len(found), 'check')}, all is well.",
    )
    return max(STATUS[finding.level] for finding in found)


COMMANDS: tuple[click.Command, ...] = (doctor,)
