"""``accept-disk``."""

from __future__ import annotations

import click

from ..logs import printable
from .console import Console, pass_console


@click.command("accept-disk")
@pass_console
def accept_disk(console: Console) -> None:
    """
    Accept the current disk for this base directory, although its records were made on another disk.

    Until you run this, Tempfleet deletes nothing there, because the right disk may just not be mounted. Afterwards it
    drops the records of missing files at their deadlines. The same is true of the other roots that files were
    registered in (TEMP_FILE_ALLOWED_ROOTS); they are accepted, too.

    Directories in memory (tmpfs) and below the system's temp directory do not need this if they are created anew in
    the same place. Records of files that are gone with the old directory are dropped. In a private temp directory
    (PrivateTmp= of systemd, another container) the place is another one.

    \b
      tempfleet --base-dir /srv/scratch accept-disk
    """
    roots = console.manager.accept_disk()
    names = ", ".join(map(printable, [console.manager.base_dir, *roots]))
    console.answer({"accepted": True, "roots": roots}, f"Accepted the current disk for {names}.")


COMMANDS: tuple[click.Command, ...] = (accept_disk,)
