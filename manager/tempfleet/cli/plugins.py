"""``plugins``."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from ..errors import RegistryError
from ..logs import printable
from ..plugins import installed
from ..registry import PluginNote
from .console import Console, pass_console
from .output import Table


@click.command()
@pass_console
def plugins(console: Console) -> int:
    """
    Show the installed plug-ins and whether they work.

    It loads each plug-in. It also shows the hooks that workers of this base directory have switched off. Until a
    hook is on again, the files that it decides about are kept.

    Exits with 1 if any plug-in does not work.

    \b
      tempfleet plugins
      TEMP_FILE_PLUGINS=archive tempfleet plugins --json
    """
    off = _switched_off(console)
    infos = [plugin.info() for plugin in installed(console.settings)]
    rows = []
    for about in infos:
        problems = [
            *about.failures,
            *(f"{note.hook}: {note.said}" for note in off if note.plugin == about.name),
        ]
        state = (
            Text("; ".join(map(printable, dict.fromkeys(problems))), "red")
            if problems
            else Text("ok", "green")
        )
        rows.append((about.name, printable(about.version), ", ".join(about.hooks), state))
    document = {
        "plugins": [asdict(about) for about in infos],
        "switched_off": [asdict(note) for note in off],
    }
    console.answer(
        document,
        Table(("Plug-in", "Version", "Hooks", "State"), rows) if rows else "No plug-in is installed.",
    )
    return 1 if off or any(about.failures for about in infos) else 0


def _switched_off(console: Console) -> list[PluginNote]:
    """Read from the registry; if Redis is away, a warning, because the other columns do not need it."""
    try:
        return console.manager.stats().plugins_off
    except RegistryError as exc:
        console.warn(str(exc))
        return []


COMMANDS: tuple[click.Command, ...] = (plugins,)
