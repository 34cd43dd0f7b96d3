"""``dead``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from ..errors import NotRegistered, TempfleetError
from ..filesystem import legend
from ..formatting import counted
from ..records import FileRecord, State
from .console import Console, pass_console
from .output import Table, path_cell, records_document

SENTENCE_ENDS = {
    "revived": "will be retried",
    "to_be_revived": "would be retried",
    "forgotten": "forgotten",
    "to_be_forgotten": "would be forgotten",
}


@click.group()
def dead() -> None:
    """Manage dead letters: files that could not be deleted."""


@dead.command("ls")
@pass_console
def dead_ls(console: Console) -> None:
    """
    List the dead letters, with the system's error for each.

    \b
      tempfleet dead ls
    """
    records = list(console.registry.all_records(state=State.DEAD))
    rows = [(record.last_error, record.attempts, path_cell(record)) for record in records]
    console.answer(
        {"files": records_document(records)},
        Table(("Error", "Tries", "Path"), rows) if rows else "No dead letters.",
        *legend(record.last_error for record in records),
    )


@dead.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--dry-run", is_flag=True, help="Show how many there are; change nothing.")
@pass_console
def retry(console: Console, paths: tuple[str, ...], everything: bool, dry_run: bool) -> int:
    """
    Retry dead letters at the next clean-up.

    Exits with 1 if any path is not a dead letter.

    \b
      tempfleet dead retry --all
    """

    def revive(path: str) -> None:
        _check_is_dead(console, path)
        if not dry_run:
            console.manager.revive(path)

    key = "to_be_revived" if dry_run else "revived"
    return _apply(console, paths, everything, revive, key)


@dead.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--dry-run", is_flag=True, help="Show how many there are; change nothing.")
@pass_console
def forget(console: Console, paths: tuple[str, ...], everything: bool, dry_run: bool) -> int:
    """
    Drop the records of dead letters; the files stay.

    Tempfleet does not manage these files any more.

    Exits with 1 if any path is not a dead letter.

    \b
      tempfleet dead forget /tmp/report.pdf
    """

    def forget_dead(path: str) -> None:
        _check_is_dead(console, path)
        if not dry_run:
            del console.manager.files[path]

    key = "to_be_forgotten" if dry_run else "forgotten"
    return _apply(console, paths, everything, forget_dead, key)


def _check_is_dead(console: Console, path: str) -> None:
    record = console.manager.get_record(path)
    if record is None or record.state is not State.DEAD:
        raise NotRegistered.as_dead_letter(path)


def _apply(
    console: Console, paths: tuple[str, ...], everything: bool, action: Callable[[str], None], key: str
) -> int:
    """Do *action* with each dead letter, and print how many succeeded; *key* is the count's name in JSON."""
    if bool(paths) == everything:  # neither, or both
        raise click.UsageError("Name the paths or pass --all" + (", not both." if paths else "."))
    done, errors = 0, list[tuple[str, TempfleetError]]()
    chosen: Iterable[str] = map(_path_of, console.manager.records(state=State.DEAD)) if everything else paths
    total = console.manager.stats().dead if everything else len(paths)
    for path in console.with_progress("Dead letters", chosen, total):
        try:
            action(path)
            done += 1
        except NotRegistered as exc:
            errors.append((path, exc))
    sentence = f"{counted(done, 'file')} {SENTENCE_ENDS[key]}."
    return console.answer_with_errors({key: done}, errors, sentence)


def _path_of(record: FileRecord) -> str:
    return record.path


COMMANDS: tuple[click.Command, ...] = (dead,)
