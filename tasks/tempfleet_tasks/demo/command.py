"""``tempfleet demo``: sets up the stage, plays, and checks the result."""

from __future__ import annotations

import time

import click
from rich.text import Text

from tempfleet.cli import Console, Table, pass_console
from tempfleet.formatting import duration
from tempfleet.logs import printable

from ..processes import Interrupts
from .checks import Check, check_facts
from .play import Play
from .show import Lines, LiveView, Show
from .stage import DemoFailed, Stage


@click.command()
@click.option(
    "--files",
    type=click.IntRange(20, 100_000),
    default=2000,
    show_default=True,
    help="Number of files.",
)
@pass_console
def demo(console: Console, files: int) -> int:
    """
    Run a demo of about half a minute. It needs no setup and leaves nothing behind.

    It starts two simulated hosts, each with a real Celery worker, and one beat, on a private Redis in a temporary
    directory. Both hosts register real files, some with the library, some by message from the other host. One worker
    is killed with kill -9 while it holds a lease.

    Exits with 1 if a check fails.

    \b
      tempfleet demo --files 5000
    """
    began = time.monotonic()
    if not console.json:
        click.echo(f"Tempfleet: {files:,} temporary files on two hosts, and a worker that is killed.\n")
    with Interrupts() as interrupts, Stage(interrupts) as stage:
        try:
            with _show(console) as show:
                checks = check_facts(Play(stage, show, files=files).run())
        except DemoFailed as exc:
            _print_logs(console, stage)
            raise exc from None
        failed = sum(not check.ok for check in checks)
        logs = stage.log_ends() if failed else {}
        if failed:
            _print_logs(console, stage)
    seconds = time.monotonic() - began
    document = {
        "ok": not failed,
        "files": files,
        "seconds": round(seconds, 1),
        "rows": [check.as_dict() for check in checks],
        "logs": logs,
    }
    summary = f"{failed} of {len(checks)} checks failed" if failed else "every check passed"
    took = duration(round(seconds))
    console.answer(document, _table(checks), f"{took}; {summary}; nothing is left behind.")
    return 1 if failed else 0


def _table(checks: list[Check]) -> Table:
    ok, wrong = Text("ok", "green"), Text("WRONG", "bold red")
    rows = [(check.name, check.value, check.note, ok if check.ok else wrong) for check in checks]
    return Table(("Check", "Value", "", "Result"), rows)


def _show(console: Console) -> Show:
    return LiveView(console.out) if console.is_rich else Lines(to_stderr=console.json)


def _print_logs(console: Console, stage: Stage) -> None:
    if console.json:
        return
    for name, lines in stage.log_ends().items():
        click.echo(f"\n-- the end of the log of the {name}:", err=True)
        for line in lines:
            click.echo(f"   {printable(line)}", err=True)
    click.echo("", err=True)
