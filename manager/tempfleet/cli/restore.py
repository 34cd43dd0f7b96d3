"""``restore``."""

from __future__ import annotations

import click

from ..errors import PathError
from ..formatting import counted, size
from .console import Console, pass_console
from .output import Table, text_cell, when


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@pass_console
def restore(console: Console, paths: tuple[str, ...]) -> int:
    """
    Restore quarantined files; without a PATH, list them.

    The list shows when each file is due for deletion. Restoring never overwrites another file. A restored file is not
    registered any more, so Tempfleet does not delete it.

    Exits with 1 if any file could not be restored.

    \b
      tempfleet restore
      tempfleet restore /tmp/report.pdf
    """
    if not paths:
        return _list(console)
    errors = []
    for path in console.with_progress("Restoring", paths, len(paths)):
        try:
            console.manager.restore(path)
        except PathError as exc:
            errors.append((path, exc))
    restored = len(paths) - len(errors)
    sentence = f"{counted(restored, 'file was', 'files were')} restored."
    return console.answer_with_errors({"restored": restored}, errors, sentence)


def _list(console: Console) -> int:
    files = console.existing.quarantined()
    now_ms, records = console.registry.read([file.aside_path for file in files])
    pairs = list(zip(files, records, strict=True))
    rows = [
        (
            "not registered" if record is None else when(record, now_ms),
            size(file.size_bytes),
            text_cell(file.path),
        )
        for file, record in pairs
    ]
    documents = [
        {
            "path": file.path,
            "aside_path": file.aside_path,
            "size_bytes": file.size_bytes,
            "due_ms": None if record is None else record.due_ms,
        }
        for file, record in pairs
    ]
    console.answer(
        {"now_ms": now_ms, "files": documents},
        Table(("Due", "Size", "Path"), rows) if rows else "No files are in quarantine.",
    )
    return 0


COMMANDS: tuple[click.Command, ...] = (restore,)
