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
from .output import Table, text_cell

SHOWN = 100
"""Files that are listed one by one; the totals include all."""


@click.command()
@duration_option(
    "--idle",
    help="Only files that have not changed for this long. [TEMP_FILE_MAX_AGE]",
)
@ttl_option
@tags_option
@click.option(
    "--owner",
    metavar="NAME|UID|any",
    help="Only files of this user. The default is the user who runs this; for root, the base directory's owner.",
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="Instead, take over the quarantined files that another registry with the same names owns.",
)
@click.option("--dry-run", is_flag=True, help="List the files that would be adopted; change nothing.")
@pass_console
def adopt(
    console: Console,
    idle: float | None,
    ttl: float | None,
    tags: tuple[str, ...],
    owner: str | None,
    quarantine: bool,
    dry_run: bool,
) -> int:
    """
    Register the files of the base directory that have no record.

    Only files that have not changed for --idle, by default TEMP_FILE_MAX_AGE, and only files of one user. A warning
    shows the number of files of other users; --owner any adopts them too.

    Use it after Redis lost its data, or if programs left files behind. Their time to live starts now. Their modes are
    narrowed to TEMP_FILE_PERMISSION_MASK, as by register.

    With --quarantine, it takes over the quarantined files of a registry with the same host, base directory and
    namespace: those of this one before Redis lost its data. They go at the end that was set when they were quarantined.
    Do not use it while another Redis with these names is in use.

    Exits with 1 if any file could not be registered; the others are registered.

    \b
      tempfleet adopt --dry-run
      tempfleet adopt --idle 1d --ttl 1h --tag adopted
      tempfleet adopt --owner www-data
      tempfleet adopt --quarantine
    """
    if quarantine:
        return _adopt_quarantine(console, dry_run=dry_run)
    validate_tags(tags), ttl_ms(console.settings.max_age_seconds if ttl is None else ttl)
    return _preview(console, idle, owner) if dry_run else _adopt(console, idle, ttl, tags, owner)


def _adopt(
    console: Console, idle: float | None, ttl: float | None, tags: tuple[str, ...], owner: str | None
) -> int:
    registered, amount, refused = _register_all(console, idle, ttl, tags, owner)
    console.answer(
        {
            "registered": registered,
            "bytes": amount,
            "errors": [{"path": result.path, "message": result.reason} for result in refused],
        },
        f"Adopted {counted(registered, 'file')} ({size(amount)}).",
    )
    for result in () if console.json else refused[:SHOWN]:
        path = printable(result.path)
        message = result.reason if path in result.reason else f"{path}: {result.reason}"
        console.fail(result.outcome, message)
    return 1 if refused else 0


def _adopt_quarantine(console: Console, *, dry_run: bool) -> int:
    manager = console.existing
    files = manager.adoptable_quarantine() if dry_run else manager.adopt_quarantine()
    amount = sum(file.size_bytes for file in files)
    rows = [(size(file.size_bytes), text_cell(file.path)) for file in files[:SHOWN]]
    done = "Nothing was changed; {} would be taken over." if dry_run else "Took over {}."
    console.answer(
        {
            "files": [
                {"path": file.path, "size_bytes": file.size_bytes, "end_ms": file.end_ms} for file in files
            ]
        },
        *([Table(("Size", "Path"), rows)] if rows else []),
        done.format(f"{counted(len(files), 'quarantined file')} ({size(amount)})"),
    )
    return 0


def _register_all(
    console: Console, idle: float | None, ttl: float | None, tags: tuple[str, ...], owner: str | None
) -> tuple[int, int, list[FileResult]]:
    """Returns the number of registered files, their bytes, and the results of the other files."""
    registered, amount, refused = 0, 0, list[FileResult]()
    with console.progress("Adopting") as count:
        for page in console.existing.adopt_pages(idle=idle, ttl=ttl, tags=tags, owner=owner):
            adopted = [file for file in page if file.outcome == REGISTERED]
            registered, amount = registered + len(adopted), amount + sum(file.size_bytes for file in adopted)
            refused += [file for file in page if file.outcome != REGISTERED]
            count(registered)
    return registered, amount, refused


def _preview(console: Console, idle: float | None, owner: str | None) -> int:
    listed, files, amount = list[UnregisteredFile](), 0, 0
    for page in console.existing.unregistered(idle=idle, owner=owner):
        listed += page if console.json else page[: SHOWN - len(listed)]
        files, amount = files + len(page), amount + sum(file.size_bytes for file in page)
    rows = [(duration(file.idle_seconds), size(file.size_bytes), text_cell(file.path)) for file in listed]
    more = [f"... and {files - len(listed):,} more."] if files > len(listed) else []
    console.answer(
        {
            "files": [
                {
                    "path": file.path,
                    "size_bytes": file.size_bytes,
                    "idle_seconds": round(file.idle_seconds, 3),
                }
                for file in listed
            ]
        },
        *([Table(("Idle", "Size", "Path"), rows)] if rows else []),
        *more,
        f"Nothing was changed; {counted(files, 'file')} ({size(amount)}) would be adopted.",
    )
    return 0


COMMANDS: tuple[click.Command, ...] = (adopt,)
