"""``evict``."""

from __future__ import annotations

import click

from ..capacity import EvictionReport, is_watched
from ..formatting import counted, duration, size
from .console import Console, pass_console
from .output import Table, name


@click.command()
@click.option("--dry-run", is_flag=True, help="Say which files would go, in their order, and change nothing.")
@pass_console
def evict(console: Console, dry_run: bool) -> int:
    """
    Delete files before their time where a disk is too full, down to the low mark.

    The high mark, above which it begins, is TEMP_FILE_EVICT_ABOVE percent of the disk's bytes or inodes, the low one
    TEMP_FILE_EVICT_DOWN_TO; for files in memory TEMP_FILE_EVICT_MEMORY_ABOVE and _DOWN_TO percent of that. Workers do
    this by themselves. Held files, files in use and files that are not registered stay.

    A disk that is more than 71 percent full, down to 70:

    \b
      tempfleet evict --dry-run
      TEMP_FILE_EVICT_ABOVE=71 TEMP_FILE_EVICT_DOWN_TO=70 tempfleet evict
    \b
    Exit status:
      0  nothing is above its high mark any more
      1  it is still too full, and nothing more can go
    """
    if not is_watched(console.settings):
        report = EvictionReport(dry_run)
        console.answer(report.as_dict(), "Eviction is off; TEMP_FILE_EVICT_ABOVE turns it on.")
        return 0
    with console.progress("Evicting") as progress:
        report = console.manager.evict(dry_run=dry_run, progress=progress)
    table = [_table(report)] if dry_run and report.files else []
    console.answer(report.as_dict(), *table, _sentence(report))
    return 1 if report.is_stuck else 0


def _table(report: EvictionReport) -> Table:
    rows = [
        (
            "quarantined" if gone.record.is_quarantined else "waiting",
            size(gone.size_bytes),
            duration(gone.age_ms / 1000),
            name(gone.record.path),
        )
        for gone in report.files
    ]
    return Table(("State", "Frees", "Age", "Path"), rows)


def _sentence(report: EvictionReport) -> str:
    if not report.before:
        return "Nothing is above its high mark."
    wanted = f"{size(report.wanted_bytes)} and {counted(report.wanted_files, 'inode')}"
    freed = f"{size(report.freed_bytes)} and {counted(report.freed_files, 'inode')}"
    verb, outcome = ("Would evict", "would free") if report.dry_run else ("Evicted", "freed")
    stuck = " It is still too full, and nothing more can go." if report.is_stuck else ""
    return f"{verb} {counted(report.evicted, 'file')}: wanted to free {wanted}, {outcome} {freed}.{stuck}"


COMMANDS: tuple[click.Command, ...] = (evict,)
