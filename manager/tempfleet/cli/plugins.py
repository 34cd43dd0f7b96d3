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
    Load the installed plug-ins, and show what each does and whether it is well.

    Hooks that workers of this base directory have switched off are shown too: their files are kept. Status 1 when
    something is not well.

    \b
      tempfleet plugins
      TEMP_FILE_PLUGINS=archive tempfleet plugins --json
    """
    off = _switched_off(console)
    found = [plugin.about() for plugin in installed(console.settings)]
    rows = []
    for about in found:
        wrong = [*about.failures, *(f"{note.hook}: {note.said}" for note in off if note.plugin == about.name)]
        state = (
            Text("; ".join(map(printable, dict.fromkeys(wrong))), "red") if wrong else Text("well", "green")
        )
        rows.append((about.name, printable(about.version), ", ".join(about.hooks), state))
    document = {
        "plugins": [asdict(about) for about in found],
        "switched_off": [asdict(note) for note in off],
    }
    console.answer(
        document,
        Table(("Plug-in", "Version", "Hooks", "State"), rows) if rows else "No plug-in is installed.",
    )
    return 1 if off or any(about.failures for about in found) else 0


def _switched_off(console: Console) -> list[PluginNote]:
    """As the registry tells it; without one there is still something to show."""
    try:
        return console.manager.stats().plugins_off
    except RegistryError as exc:
        console.warn(str(exc))
        return []


COMMANDS: tuple[click.Command, ...] = (plugins,)
