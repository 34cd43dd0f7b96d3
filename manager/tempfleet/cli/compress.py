"""``compress`` and ``decompress``."""

from __future__ import annotations

import click

from ..errors import TempfleetError
from ..formatting import counted, duration, size
from .console import Console, pass_console
from .output import Table, name


@click.command()
@click.option("--dry-run", is_flag=True, help="List the files that would be tried, and change nothing.")
@pass_console
def compress(console: Console, dry_run: bool) -> int:
    """
    Compress idle files in place, now and in this process (TEMP_FILE_COMPRESS_AFTER). Workers do it by themselves.

    Their readers use manager.open, which reads either form.

    \b
      tempfleet compress --dry-run
      tempfleet compress --json
    """
    manager = console.manager
    if not manager.settings.compress_after_seconds:
        raise click.UsageError("Nothing is compressed unless TEMP_FILE_COMPRESS_AFTER is set.")
    if dry_run:
        found = list(manager.compressor.preview())
        files = [{"path": record.path, "size_bytes": record.size_bytes} for record in found]
        rows = [(size(record.size_bytes), name(record.path)) for record in found]
        told = f"Nothing was changed; {counted(len(found), 'file')} would be tried."
        console.answer({"files": files}, *([Table(("Size", "Path"), rows)] if rows else []), told)
        return 0
    with console.progress("Compressing", manager.stats().waiting) as done:
        report = manager.compress_idle(
            progress=lambda report: done(report.compressed + sum(report.kept.values()))
        )
    console.answer(
        report.as_dict(),
        f"Compressed {counted(report.compressed, 'file')} ({size(report.saved_bytes)} saved) "
        f"in {duration(report.seconds)}"
        + "".join(f", {n} {reason}" for reason, n in sorted(report.kept.items()))
        + ".",
    )
    return 0


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@pass_console
def decompress(console: Console, paths: tuple[str, ...]) -> int:
    """
    Give compressed files their plain form back; they stay registered. Status 1 if one could not be.

    \b
      tempfleet decompress /tmp/report.csv
    """
    done, errors = 0, list[tuple[str, Exception]]()
    for path in console.each("Decompressing", paths, len(paths)):
        try:
            done += console.manager.decompress(path)
        except (TempfleetError, OSError) as exc:
            errors.append((path, exc))
    return console.answer_count("decompressed", done, errors)


COMMANDS: tuple[click.Command, ...] = (compress, decompress)
