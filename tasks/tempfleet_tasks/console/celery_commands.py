"""
``celery -A proj tempfleet ...``: the commands of the console in Celery's command line, with the settings of that app.
"""

from __future__ import annotations

from typing import Any

import click

from tempfleet import TempfleetError
from tempfleet.cli import Console, main, pass_console

from ..app import install

APP = "tempfleet_tasks.app"
"""The key of the app in click's context."""


class AppGroup(click.Group):
    """Prints our errors as one sentence, and exits with the number that a command returns."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
        except TempfleetError as exc:
            raise click.ClickException(str(exc)) from exc
        ctx.exit(code if isinstance(code, int) else 0)


@click.group(cls=AppGroup)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def tempfleet(ctx: click.Context, as_json: bool) -> None:
    """
    Manage temporary files, with the settings of this app.

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
    """Send a sweep now, without waiting for beat."""
    result = ctx.meta[APP].tasks["tempfleet.sweep"].apply_async()
    text = "A sweep was sent." if result else "A sweep is waiting already, so none was sent."
    console.answer({"sent": result is not None}, text)


for _command in main.commands.values():
    tempfleet.add_command(_command)
