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
@click.option("--all", "everything", is_flag=True, help="Show also the checks that found no problem.")
@pass_console
def doctor(console: Console, everything: bool) -> int:
    """
    Find problems on this host and in Redis, and show what to do.

    Checks permissions, disk space and inodes, processes that use files, the size and balance of the registry,
    unregistered files, expired leases, silent hosts, clocks, and Redis's policy, persistence and memory. Changes
    nothing.

    \b
      tempfleet doctor
      tempfleet doctor --all --json
    \b
    Exit status:
      0  no problem was found
      1  there are warnings
      2  there are errors
    """
    findings = list(diagnose(console.registry, console.settings))
    shown = [finding for finding in findings if everything or finding.level is not Level.OK]
    rows = [
        (Text(finding.level.value, COLOURS[finding.level]), finding.check, finding.said, finding.todo)
        for finding in shown
    ]
    console.answer(
        {"findings": [asdict(finding) for finding in shown]},
        Table(("Level", "Check", "Finding", "What to do"), rows)
        if rows
        else f"{counted(len(findings), 'check')} found no problem.",
    )
    return max(STATUS[finding.level] for finding in findings)


COMMANDS: tuple[click.Command, ...] = (doctor,)
