"""``config``."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from ..diagnostics import DEFAULT, explain_settings
from ..logs import printable
from .console import Console, pass_console
from .output import Table


@click.command()
@click.option("--changed", is_flag=True, help="Only what is not a default.")
@pass_console
def config(console: Console, changed: bool) -> None:
    """
    Show every setting: its value, where that came from, and what it can be.

    The strongest source first: options, the environment, an env file (.env, or TEMP_FILE_ENV_FILE), a TOML file
    (TEMP_FILE_CONFIG). Passwords are masked.

    \b
      tempfleet config --changed
      TEMP_FILE_CONFIG=/etc/tempfleet.toml tempfleet config --json
    """
    settings = [each for each in explain_settings(**console.given) if not changed or each.origin != DEFAULT]
    rows = [
        (
            each.variable,
            Text(printable(each.value), "" if each.origin == DEFAULT else "bold"),
            printable(each.origin),
            each.allowed,
        )
        for each in settings
    ]
    console.answer(
        {each.variable: asdict(each) for each in settings},
        Table(("Setting", "Value", "From", "Allowed"), rows) if rows else "Every setting is a default.",
    )


COMMANDS: tuple[click.Command, ...] = (config,)
