"""``cleanup``."""

from __future__ import annotations

from collections import Counter

import click

from ..cleanup import CleanupReport
from ..deletion import QUARANTINE
from ..formatting import counted, duration, size
from ..logs import printable
from ..records import Deletion, Outcome
from .console import Console, pass_console
from .options import prefix_filter, tag_filter
from .output import Table, origin_field, path_cell

SET_ASIDE = "set_aside"
"""The word of the JSON output for files that are, or would be, quarantined."""


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Delete files before their deadlines too, except held files and quarantined files.",
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="Delete the quarantined files instead, before their time ends. They cannot be restored then.",
)
@tag_filter
@prefix_filter
@click.option("--dry-run", is_flag=True, help="List what would happen to each file; change nothing.")
@pass_console
def cleanup(
    console: Console, force: bool, quarantine: bool, tags: tuple[str, ...], prefix: str, dry_run: bool
) -> int:
    """
    Delete the expired files, now and in this process.

    A file that cannot be deleted stays registered and is retried later. With TEMP_FILE_QUARANTINE the files are
    quarantined first. They are deleted when their time in quarantine ends, or by --quarantine.

    Exits with 1 if any file had to stay.

    \b
      tempfleet cleanup --dry-run
      tempfleet --base-dir /srv/scratch cleanup --force
      tempfleet cleanup --force --tag report --prefix '/srv/scratch/2024-*'
      tempfleet cleanup --quarantine --dry-run
    """
    if force and quarantine:
        raise click.UsageError("--force and --quarantine are two clean-ups. Run one after the other.")
    if dry_run:
        return _preview(console, force, quarantine, tags, prefix)
    report = _run(console, force, quarantine, tags, prefix)
    quarantined = console.manager.stats().quarantined
    others = [
        f"{n} {outcome.value}" for outcome, n in report.counts.items() if n and outcome.value != "deleted"
    ]
    console.answer(
        {**report.as_dict(), "quarantined": quarantined},
        (f"Quarantined {counted(report.set_aside, 'file')}; deleted" if report.set_aside else "Deleted")
        + f" {counted(report.deleted, 'file')} ({size(report.freed_bytes)}) in {duration(report.seconds)}"
        + "".join(f", {part}" for part in others)
        + ".",
        *_quarantined_sentence(quarantined if force else 0),
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


def _quarantined_sentence(files: int) -> list[str]:
    """A sentence on the files that --force does not delete, because users may expect that it deletes all."""
    stay = counted(files, "file stays", "files stay")
    return (
        [f"{stay} in quarantine; tempfleet cleanup --quarantine deletes quarantined files."] if files else []
    )


def _preview(console: Console, force: bool, quarantine: bool, tags: tuple[str, ...], prefix: str) -> int:
    manager = console.existing
    deletions = list(manager.preview(force=force, tags=tags, prefix=prefix, quarantine=quarantine))
    outcomes = [_outcome(deletion) for deletion in deletions]
    counts = Counter(outcomes)
    document = {
        "counts": counts,
        "files": [
            {
                "path": deletion.path,
                "outcome": outcome,
                "reason": deletion.reason,
                **({"inside": deletion.obstacle.path} if deletion.obstacle else {}),
                "freed_bytes": deletion.freed_bytes,
                **origin_field(deletion.record),
            }
            for deletion, outcome in zip(deletions, outcomes, strict=True)
        ],
    }
    rows = [
        (
            _words(outcome),
            "" if outcome == SET_ASIDE else _reason(deletion),
            size(deletion.freed_bytes),
            path_cell(deletion.record),
        )
        for deletion, outcome in zip(deletions, outcomes, strict=True)
    ]
    table = [Table(("Would be", "Reason", "Frees", "Path"), rows)] if rows else []
    would = ", ".join(f"{n} would be {_words(outcome)}" for outcome, n in counts.items())
    nothing = "no file is in quarantine" if quarantine else "no file is due"
    sentence = _quarantined_sentence(manager.stats().quarantined if force else 0)
    console.answer(document, *table, f"Nothing was changed; {would or nothing}.", *sentence)
    return 0


def _outcome(deletion: Deletion) -> str:
    """The outcome, for programs. Files to quarantine are counted apart, as in the report of a real clean-up."""
    return SET_ASIDE if deletion.reason == QUARANTINE else deletion.outcome.value


def _reason(deletion: Deletion) -> str:
    """The reason for people; with the entry of a directory that keeps it."""
    inside = deletion.obstacle
    return f"{deletion.reason} ({printable(inside.path)})" if inside else deletion.reason


def _words(outcome: str) -> str:
    """The outcome for people, after "would be"."""
    if outcome == Outcome.DELETED:
        return "deleted"
    if outcome == SET_ASIDE:
        return "quarantined"
    return "dropped (missing)" if outcome == Outcome.MISSING else f"kept ({outcome})"


COMMANDS: tuple[click.Command, ...] = (cleanup,)
