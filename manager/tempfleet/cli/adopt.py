"""``adopt``."""

from __future__ import annotations

import click

from ..formatting import counted, duration, size
from ..logs import printable
from ..manager import REGISTERED, FileResult
from ..reconciliation import UnregisteredFile
from ..validation import ttl_ms, validate_tags
from .console import Console, pass_console
from .options import duration_option, tags_option, ttl_option
from .output import Table, name

SHOWN = 100
"""Files that are told one by one; the totals tell of all."""


@click.command()
@duration_option(
    "--idle",
    help="Only files that changed last at least so long ago. [TEMP_FILE_MAX_AGE]",
)
@ttl_option
@tags_option
@click.option("--dry-run", is_flag=True, help="List what would be adopted, and change nothing.")
@pass_console
def adopt(
    console: Console, idle: float | None, ttl: float | None, tags: tuple[str, ...], dry_run: bool
) -> int:
    """
    Register the files of the base directory that nobody registered: after Redis lost its data, or where programs
    wrote and forgot. They are deleted when their time to live, from now, is over; rights beyond
    TEMP_FILE_PERMISSION_MASK are taken away from them, as by register.

    Status 1 if one could not be registered.

    \b
      tempfleet adopt --dry-run
      tempfleet adopt --idle 1d --ttl 1h --tag adopted
    """
    validate_tags(tags), ttl_ms(console.settings.max_age_seconds if ttl is None else ttl)
    if dry_run:
        return _preview(console, idle)
    registered, amount, refused = _register_all(console, idle, ttl, tags)
    console.answer(
        {
            "registered": registered,
            "bytes": amount,
            "errors": [{"path": each.path, "message": each.reason} for each in refused],
        },
        f"Adopted {counted(registered, 'file')} ({size(amount)}).",
    )
    if not console.json:
        for each in refused[:SHOWN]:
            told = (
                each.reason
                if printable(each.path) in each.reason
                else f"{printable(each.path)}: {each.reason}"
            )
            console.fail(each.outcome, told)
    return 1 if refused else 0


def _register_all(
    console: Console, idle: float | None, ttl: float | None, tags: tuple[str, ...]
) -> tuple[int, int, list[FileResult]]:
    """Files and bytes that were registered, and the results of the other files."""
    manager, registered, amount, refused = console.existing, 0, 0, list[FileResult]()
    with console.progress("Adopting") as count:
        for page in manager.unregistered(idle=idle):
            paths = [file.path for file in page]
            result = manager.register_batch(paths, ttl=ttl, tags=tags, make_room=False)
            registered, amount = registered + result.registered, amount + result.bytes
            refused += [file for file in result.files if file.outcome != REGISTERED]
            count(registered)
    return registered, amount, refused


def _preview(console: Console, idle: float | None) -> int:
    shown, files, amount = list[UnregisteredFile](), 0, 0
    for page in console.existing.unregistered(idle=idle):
        shown += page if console.json else page[: SHOWN - len(shown)]
        files, amount = files + len(page), amount + sum(found.size_bytes for found in page)
    rows = [(duration(found.idle_seconds), size(found.size_bytes), name(found.path)) for found in shown]
    more = [f"... and {files - len(shown)} more."] if files > len(shown) else []
    console.answer(
        {
            "files": [
                {
                    "path": found.path,
                    "size_bytes": found.size_bytes,
                    "idle_seconds": round(found.idle_seconds, 3),
                }
                for found in shown
            ]
        },
        *([Table(("Idle", "Size", "Path"), rows)] if rows else []),
        *more,
        f"Nothing was changed; {counted(files, 'file')} ({size(amount)}) would be adopted.",
    )
    return 0


COMMANDS: tuple[click.Command, ...] = (adopt,)
