"""``restore``."""

from __future__ import annotations

import click

from ..errors import PathError
from ..formatting import size
from .console import Console, pass_console
from .output import Table, name, when


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@pass_console
def restore(console: Console, paths: tuple[str, ...]) -> int:
    """
    Bring deleted files back while their grace period lasts (TEMP_FILE_QUARANTINE); without a PATH, list them and the
    time that is left.

    Never over another file. A restored file is its user's again: nobody deletes it.

    \b
      tempfleet restore
      tempfleet restore /tmp/report.pdf
    """
    if not paths:
        aside = console.existing.quarantined()
        now_ms, records = console.registry.read([one.aside_path for one in aside])
        rows = [
            (
                "not registered" if record is None else when(record, now_ms),
                size(one.size_bytes),
                name(one.path),
            )
            for one, record in zip(aside, records, strict=True)
        ]
        files = [
            {"path": one.path, "aside_path": one.aside_path, "size_bytes": one.size_bytes,
             "due_ms": None if record is None else record.due_ms}
            for one, record in zip(aside, records, strict=True)
        ]  # fmt: skip
        console.answer(
            {"now_ms": now_ms, "files": files},
            Table(("Deleted", "Size", "Path"), rows) if rows else "No files are in quarantine.",
        )
        return 0
    errors = []
    for path in console.each("Restoring", paths, len(paths)):
        try:
            console.manager.restore(path)
        except PathError as exc:
            errors.append((path, exc))
    restored = len(paths) - len(errors)
    return console.answer_count("restored", restored, errors)


COMMANDS: tuple[click.Command, ...] = (restore,)
