"""``dead``."""

from __future__ import annotations

from collections.abc import Callable

import click

from ..errors import NotRegistered, TempfleetError
from ..filesystem import legend
from ..records import FileRecord, State
from .console import Console, pass_console
from .output import Table, known_name, records_document


@click.group()
def dead() -> None:
    """Files that could not be deleted, and wait for a person."""


@dead.command("ls")
@pass_console
def dead_ls(console: Console) -> None:
    """
    List them, with what the system said.

    \b
      tempfleet dead ls
    """
    records = list(console.registry.all_records(state=State.DEAD))
    rows = [(record.last_error, record.attempts, known_name(record)) for record in records]
    console.answer(
        {"files": records_document(records)},
        Table(("Error", "Tries", "Path"), rows) if rows else "No dead letters.",
        *legend(record.last_error for record in records),
    )


@dead.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--dry-run", is_flag=True, help="Say how many, and change nothing.")
@pass_console
def retry(console: Console, paths: tuple[str, ...], everything: bool, dry_run: bool) -> int:
    """
    Bring them back, due at once: the next clean-up tries to delete them again.

    \b
      tempfleet dead retry --all
    """

    def revive(path: str) -> None:
        _check_is_dead(console, path)
        if not dry_run:
            console.manager.revive(path)

    return _each(console, paths, everything, revive, "to be revived" if dry_run else "revived")


@dead.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--dry-run", is_flag=True, help="Say how many, and change nothing.")
@pass_console
def forget(console: Console, paths: tuple[str, ...], everything: bool, dry_run: bool) -> int:
    """
    Drop their records; a file that is still there stays, and nobody manages it any more.

    \b
      tempfleet dead forget /tmp/report.pdf
    """

    def forget_dead(path: str) -> None:
        _check_is_dead(console, path)
        if not dry_run:
            del console.manager.files[path]

    return _each(console, paths, everything, forget_dead, "to be forgotten" if dry_run else "forgotten")


def _check_is_dead(console: Console, path: str) -> None:
    record = console.manager.get_record(path)
    if record is None or record.state is not State.DEAD:
        raise NotRegistered.as_dead_letter(path)


def _each(
    console: Console, paths: tuple[str, ...], everything: bool, move: Callable[[str], None], word: str
) -> int:
    if bool(paths) == everything:  # neither, or both
        raise click.UsageError("Name the paths, or say --all" + (", not both." if paths else "."))
    moved, errors = 0, list[tuple[str, TempfleetError]]()
    named = map(_path_of, console.manager.records(state=State.DEAD)) if everything else iter(paths)
    for path in console.each(
        "Dead letters", named, console.manager.stats().dead if everything else len(paths)
    ):
        try:
            move(path)
            moved += 1
        except NotRegistered as exc:
            errors.append((path, exc))
    return console.answer_count(word, moved, errors)


def _path_of(record: FileRecord) -> str:
    return record.path


COMMANDS: tuple[click.Command, ...] = (dead,)
