"""``evict``."""

from __future__ import annotations

import click

from ..capacity import EvictionReport, is_watched
from ..formatting import counted, duration, size
from .console import Console, pass_console
from .output import Table, text_cell


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="List the files that would be evicted, in their order; change nothing."
)
@pass_console
def evict(console: Console, dry_run: bool) -> int:
    """
    Delete files before their deadlines if a disk is too full.

    Eviction starts above the high mark: TEMP_FILE_EVICT_ABOVE percent of the disk's bytes or inodes. It ends at the low
    mark, TEMP_FILE_EVICT_DOWN_TO. For files in memory, TEMP_FILE_EVICT_MEMORY_ABOVE and _DOWN_TO are percent of the
    memory. Workers do this by themselves. Held files, files in use and unregistered files stay.

    From a disk that is more than 71 percent full, down to 70 percent:

    \b
      tempfleet evict --dry-run
      TEMP_FILE_EVICT_ABOVE=71 TEMP_FILE_EVICT_DOWN_TO=70 tempfleet evict
    \b
    Exit status:
      0  no disk is above its high mark any more
      1  a disk is still too full, and no other file can be evicted
    """
    if not is_watched(console.settings):
        report = EvictionReport(dry_run)
        console.answer(report.as_dict(), "Eviction is off; set TEMP_FILE_EVICT_ABOVE to turn it on.")
        return 0
    with console.progress("Evicting") as progress:
        report = console.manager.evict(dry_run=dry_run, progress=progress)
    table = [_table(report)] if dry_run and report.files else []
    console.answer(report.as_dict(), *table, _sentence(report))
    return 1 if report.is_stuck else 0


def _table(report: EvictionReport) -> Table:
    rows = [
        (
            "quarantined" if file.record.is_quarantined else "waiting",
            size(file.size_bytes),
            duration(file.age_ms / 1000),
            text_cell(file.record.path),
        )
        for file in report.files
    ]
    return Table(("State", "Frees", "Age", "Path"), rows)


def _sentence(report: EvictionReport) -> str:
    if not report.before:
        return "No disk is above its high mark."
    wanted = f"{size(report.wanted_bytes)} and {counted(report.wanted_files, 'inode')}"
    freed = f"{size(report.freed_bytes)} and {counted(report.freed_files, 'inode')}"
    verb, outcome = ("Would evict", "would free") if report.dry_run else ("Evicted", "freed")
    stuck = " The disk is still too full, and no other file can be evicted." if report.is_stuck else ""
    return f"{verb} {counted(report.evicted, 'file')}: wanted to free {wanted}, {outcome} {freed}.{stuck}"


COMMANDS: tuple[click.Command, ...] = (evict,)
