"""``compress`` and ``decompress``."""

from __future__ import annotations

import click

from ..errors import TempfleetError
from ..formatting import counted, duration, size
from .console import Console, pass_console
from .output import Table, text_cell


@click.command()
@click.option("--dry-run", is_flag=True, help="List the files that would be tried; change nothing.")
@pass_console
def compress(console: Console, dry_run: bool) -> int:
    """
    Compress idle files in place, now and in this process.

    TEMP_FILE_COMPRESS_AFTER sets when a file is idle. Workers do this by themselves. Programs read the files with
    manager.open, which reads both forms.

    \b
      tempfleet compress --dry-run
      tempfleet compress --json
    """
    manager = console.manager
    if not manager.settings.compress_after_seconds:
        raise click.UsageError("Compression is off; set TEMP_FILE_COMPRESS_AFTER to turn it on.")
    if dry_run:
        records = list(manager.compressor.preview())
        files = [{"path": record.path, "size_bytes": record.size_bytes} for record in records]
        rows = [(size(record.size_bytes), text_cell(record.path)) for record in records]
        sentence = f"Nothing was changed; {counted(len(records), 'file')} would be tried."
        console.answer({"files": files}, *([Table(("Size", "Path"), rows)] if rows else []), sentence)
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
    Decompress files in place; they stay registered.

    Exits with 1 if any file could not be decompressed.

    \b
      tempfleet decompress /tmp/report.csv
    """
    done, errors = 0, list[tuple[str, Exception]]()
    for path in console.with_progress("Decompressing", paths, len(paths)):
        try:
            done += console.manager.decompress(path)
        except (TempfleetError, OSError) as exc:
            errors.append((path, exc))
    sentence = f"{counted(done, 'file was', 'files were')} decompressed."
    return console.answer_with_errors({"decompressed": done}, errors, sentence)


COMMANDS: tuple[click.Command, ...] = (compress, decompress)
