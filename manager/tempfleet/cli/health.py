"""``health``."""

from __future__ import annotations

import click
from rich.text import Text

from ..diagnostics import DEGRADED, HEALTHY, UNHEALTHY
from ..errors import TempfleetError
from ..logs import printable
from .console import Console, pass_console
from .output import Table

STATUS_OF_HEALTH = {HEALTHY: 0, DEGRADED: 1, UNHEALTHY: 2}
COLOURS = {HEALTHY: "green", DEGRADED: "yellow", UNHEALTHY: "red"}


@click.command()
@pass_console
def health(console: Console) -> int:
    """
    Check whether this base directory and its registry work.

    \b
    Exit status:
      0  healthy
      1  degraded: it works, but a person should look at the warnings
      2  unhealthy: it does not work

    \b
      tempfleet health --json
    """
    try:
        report = console.existing.health_check()
    except TempfleetError as exc:
        report = {"status": UNHEALTHY, "error": str(exc)}
    status = str(report["status"])
    rows: list[tuple[str, str | Text]] = [("status", Text(status, COLOURS[status]))]
    rows += [
        (key, printable(str(value)))
        for key, value in report.items()
        if key not in ("status", "timestamp", "warnings", "warning", "problems", "notes")
    ]
    rows += [("warning", warning) for warning in report.get("warnings", ())]
    rows += [("note", note) for note in report.get("notes", ())]
    console.answer(report, Table(("Health", ""), rows))
    return STATUS_OF_HEALTH[status]


COMMANDS: tuple[click.Command, ...] = (health,)
