"""``tempfleet demo``: sets the stage, plays, and says whether everything was right."""

from __future__ import annotations

import time

import click
from rich.text import Text

from tempfleet.cli import Console, Table, pass_console
from tempfleet.formatting import duration
from tempfleet.logs import printable

from ..processes import Interrupts
from .play import Play
from .show import Lines, LiveView, Show
from .stage import DemoFailed, Stage
from .verdict import Row, verdict


@click.command()
@click.option("--files", type=click.IntRange(20, 100_000), default=2000, show_default=True)
@pass_console
def demo(console: Console, files: int) -> int:
    """
    See it work, in about half a minute: nothing is needed, and nothing is left behind.

    Two simulated hosts, each with a real Celery worker, and a beat, on a private Redis in a temporary directory.
    Real files are registered from both, some by the library, some by message from the other host; one worker is
    killed with kill -9 while it holds a lease. The status is 0 only if every row of the table is right.

    \b
      tempfleet demo --files 5000
    """
    began = time.monotonic()
    if not console.json:
        click.echo(f"Tempfleet: {files:,} temporary files on two hosts, and a worker that is killed.\n")
    with Interrupts() as interrupts, Stage(interrupts) as stage:
        try:
            with _show(console) as show:
                rows = verdict(Play(stage, show, files=files).run())
        except DemoFailed as exc:
            _tell_logs(console, stage)
            raise exc from None
        ok = all(row.ok for row in rows)
        logs = {} if ok else stage.log_ends()
        if not ok:
            _tell_logs(console, stage)
    seconds = time.monotonic() - began
    document = {
        "ok": ok,
        "files": files,
        "seconds": round(seconds, 1),
        "rows": [row.as_dict() for row in rows],
        "logs": logs,
    }
    wrong = sum(not row.ok for row in rows)
    told = "every row is right" if ok else f"{wrong} of {len(rows)} rows are wrong"
    console.answer(document, _table(rows), f"{duration(round(seconds))}; {told}; nothing is left behind.")
    return 0 if ok else 1


def _table(rows: list[Row]) -> Table:
    return Table(
        ("What", "Seen", "", "Verdict"),
        [
            (row.name, row.value, row.note, Text("ok", "green") if row.ok else Text("WRONG", "bold red"))
            for row in rows
        ],
    )


def _show(console: Console) -> Show:
    return LiveView(console.out) if console.is_rich else Lines(to_stderr=console.json)


def _tell_logs(console: Console, stage: Stage) -> None:
    if console.json:
        return
    for name, lines in stage.log_ends().items():
        click.echo(f"\n-- the end of the log of the {name}:", err=True)
        for line in lines:
            click.echo(f"   {printable(line)}", err=True)
    click.echo("", err=True)
