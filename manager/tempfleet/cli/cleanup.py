"""``cleanup``."""

from __future__ import annotations

from collections import Counter

import click

from ..cleanup import CleanupReport
from ..deletion import QUARANTINE
from ..formatting import counted, duration, size
from ..records import Deletion
from .console import Console, pass_console
from .options import prefix_filter, tag_filter
from .output import Table, known_name, origin


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Everything that is registered, due or not; but not what is held, nor what is in quarantine.",
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="Instead what is in quarantine, before its grace period ends: it cannot be restored then.",
)
@tag_filter
@prefix_filter
@click.option("--dry-run", is_flag=True, help="Say what would be done, file by file, and change nothing.")
@pass_console
def cleanup(
    console: Console, force: bool, quarantine: bool, tags: tuple[str, ...], prefix: str, dry_run: bool
) -> int:
    """
    Delete what is due, now and in this process.

    A file that cannot be deleted stays registered and is tried again; then the status is 1. With TEMP_FILE_QUARANTINE
    files are set aside, and wait there until their grace period ends or --quarantine deletes them.

    \b
      tempfleet cleanup --dry-run
      tempfleet --base-dir /srv/scratch cleanup --force
      tempfleet cleanup --force --tag report --prefix /srv/scratch/2024
      tempfleet cleanup --quarantine --dry-run
    """
    if force and quarantine:
        raise click.UsageError("--force and --quarantine are two clean-ups: run one after the other.")
    if dry_run:
        return _preview(console, force, quarantine, tags, prefix)
    report = _run(console, force, quarantine, tags, prefix)
    staying = console.manager.stats().quarantined
    told = [
        f"{n} {outcome.value}" for outcome, n in report.counts.items() if n and outcome.value != "deleted"
    ]
    console.answer(
        {**report.as_dict(), "quarantined": staying},
        f"Deleted {counted(report.deleted, 'file')} ({size(report.freed_bytes)}) in {duration(report.seconds)}"
        + (f", {report.set_aside} set aside" if report.set_aside else "")
        + "".join(f", {part}" for part in told)
        + ".",
        *_staying(staying if force else 0),
    )
    return 1 if report.kept or not report.finished else 0


def _run(
    console: Console, force: bool, quarantine: bool, tags: tuple[str, ...], prefix: str
) -> CleanupReport:
    manager, stats = console.manager, console.manager.stats()
    total = stats.quarantined if quarantine else stats.waiting if force else stats.due
    with console.progress("Deleting", total) as done:

        def progress(report: CleanupReport) -> None:
            done(sum(report.counts.values()))

        if quarantine:
            return manager.purge_quarantine(tags=tags, prefix=prefix, progress=progress)
        return manager.cleanup_report(force=force, tags=tags, prefix=prefix, progress=progress)


def _staying(files: int) -> list[str]:
    """What forcing leaves, for who thought that it leaves nothing."""
    stay = counted(files, "file stays in quarantine until its", "files stay in quarantine until their")
    return [f"{stay} grace period ends; tempfleet cleanup --quarantine ends it now."] if files else []


def _preview(console: Console, force: bool, quarantine: bool, tags: tuple[str, ...], prefix: str) -> int:
    manager = console.existing
    deletions = list(manager.preview(force=force, tags=tags, prefix=prefix, quarantine=quarantine))
    would = [_would_be(deletion) for deletion in deletions]
    counts = Counter(would)
    document = {
        "counts": counts,
        "files": [
            {"path": deletion.path, "outcome": outcome, "reason": deletion.reason,
             "freed_bytes": deletion.freed_bytes, **origin(deletion.record)}
            for deletion, outcome in zip(deletions, would, strict=True)
        ],
    }  # fmt: skip
    rows = [
        (outcome, deletion.reason, size(deletion.freed_bytes), known_name(deletion.record))
        for deletion, outcome in zip(deletions, would, strict=True)
    ]
    table = [Table(("Would be", "Reason", "Frees", "Path"), rows)] if rows else []
    told = ", ".join(f"{n} would be {outcome.replace('_', ' ')}" for outcome, n in counts.items())
    nothing = "nothing is in quarantine" if quarantine else "nothing is due"
    staying = _staying(manager.stats().quarantined if force else 0)
    console.answer(document, *table, f"Nothing was changed; {told or nothing}.", *staying)
    return 0


def _would_be(deletion: Deletion) -> str:
    """Its outcome; what a grace period is for is counted apart, as the real clean-up does."""
    return "set_aside" if deletion.reason == QUARANTINE else deletion.outcome.value


COMMANDS: tuple[click.Command, ...] = (cleanup,)
