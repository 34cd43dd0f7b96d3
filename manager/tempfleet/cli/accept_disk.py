"""``accept-disk``."""

from __future__ import annotations

import click

from ..logs import printable
from .console import Console, pass_console


@click.command("accept-disk")
@pass_console
def accept_disk(console: Console) -> None:
    """
    Say that the base directory is right as it is, though its records are of files on another disk.

    Until then nothing is deleted there: its disk may just not be mounted. Afterwards records of files that are not
    there are dropped at their deadlines.

    Not asked for in memory (tmpfs) and below the system's temp directory, where a directory is expected to be made
    anew: records of files that went with the old one are dropped.

    \b
      tempfleet --base-dir /srv/scratch accept-disk
    """
    console.manager.accept_disk()
    console.answer({"accepted": True}, f"{printable(console.manager.base_dir)} is accepted.")


COMMANDS: tuple[click.Command, ...] = (accept_disk,)
