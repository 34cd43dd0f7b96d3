"""
``celery -A proj tempfleet ...``: the console's commands with the settings of that app, in Celery's own command line.
"""

from __future__ import annotations

from typing import Any

import click

from tempfleet import TempfleetError
from tempfleet.cli import Console, main, pass_console

from ..app import install

APP = "tempfleet_tasks.app"
"""Where the app is in click's own notes."""


class AppGroup(click.Group):
    """Turns our errors into one sentence, and a command's number into the exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
        except TempfleetError as exc:
            raise click.ClickException(str(exc)) from exc
        ctx.exit(code if isinstance(code, int) else 0)


@click.group(cls=AppGroup)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
@click.pass_context
def tempfleet(ctx: click.Context, as_json: bool) -> None:
    """
    The life of temporary files, with the settings of this app.

    \b
      celery -A proj tempfleet status
      celery -A proj tempfleet --json hosts
      celery -A proj tempfleet sweep
    """
    app = ctx.meta[APP] = ctx.obj.app
    console = ctx.obj = Console()
    console.json = as_json
    console.settings = install(app).settings
    ctx.call_on_close(console.close)


@tempfleet.command()
@pass_console
@click.pass_context
def sweep(ctx: click.Context, console: Console) -> None:
    """Send a sweep now, instead of waiting for beat."""
    sent = ctx.meta[APP].tasks["tempfleet.sweep"].apply_async()
    console.answer({"sent": sent is not None}, "A sweep is sent." if sent else "A sweep waits already.")


for _command in main.commands.values():
    tempfleet.add_command(_command)
