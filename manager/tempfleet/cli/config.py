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
@click.option("--changed", is_flag=True, help="Show only the settings that are not defaults.")
@pass_console
def config(console: Console, changed: bool) -> None:
    """
    Show every setting: its value, source and allowed values.

    The sources, the strongest first: options, the environment, an env file (.env, or TEMP_FILE_ENV_FILE), a TOML file
    (TEMP_FILE_CONFIG). Passwords are masked.

    \b
      tempfleet config --changed
      TEMP_FILE_CONFIG=/etc/tempfleet.toml tempfleet config --json
    """
    settings = [
        setting for setting in explain_settings(**console.options) if not changed or setting.origin != DEFAULT
    ]
    rows = [
        (
            setting.variable,
            Text(printable(setting.value), "" if setting.origin == DEFAULT else "bold"),
            printable(setting.origin),
            setting.allowed,
        )
        for setting in settings
    ]
    console.answer(
        {setting.variable: asdict(setting) for setting in settings},
        Table(("Setting", "Value", "Source", "Allowed"), rows) if rows else "Every setting is a default.",
    )


COMMANDS: tuple[click.Command, ...] = (config,)
