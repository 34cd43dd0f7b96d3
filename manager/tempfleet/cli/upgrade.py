"""``upgrade``."""

from __future__ import annotations

import click

from ..formatting import counted
from ..registry import upgrade as upgrade_registries
from .console import Console, pass_console
from .output import Table, text_cell


@click.command()
@click.option("--force", is_flag=True, help="Also while workers are live; all of them must run this version.")
@click.option("--dry-run", is_flag=True, help="Show which registries would be upgraded; change nothing.")
@pass_console
def upgrade(console: Console, force: bool, dry_run: bool) -> None:
    """
    Upgrade the registries of all hosts that an older version of Tempfleet wrote.

    Stop all workers and programs of the older version first. If the command is interrupted, repeat it. Until it is
    done, neither version changes a registry, and no file is deleted.

    \b
      tempfleet upgrade --dry-run
      tempfleet upgrade
    """
    with console.progress("Upgrading held files") as show_done:
        upgraded = upgrade_registries(console.fleet, dry_run=dry_run, force=force, progress=show_done)
    verb = "would be" if dry_run else "was" if len(upgraded) == 1 else "were"
    rows = [
        (text_cell(entry.host), text_cell(entry.base_dir), entry.schema, entry.held) for entry in upgraded
    ]
    console.answer(
        {"upgraded": not dry_run, "registries": [entry.as_dict() for entry in upgraded]},
        *([Table(("Host", "Base directory", "Schema", "Held"), rows)] if rows else []),
        f"{counted(len(upgraded), 'registry', 'registries')} {verb} upgraded."
        if upgraded
        else "No registry needs an upgrade.",
    )


COMMANDS: tuple[click.Command, ...] = (upgrade,)
