"""``cleanup``, ``explain``, ``restore`` and ``dead``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import click

from ..cleanup import CleanupReport
from ..deletion import QUARANTINE
from ..errors import NotRegistered, PathError, TempfleetError
from ..filesystem import legend
from ..formatting import counted, duration, size
from ..records import Deletion, FileRecord, State
from .console import Console, pass_console
from .formats import when
from .output import Table, known_name, name, origin, records_document


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
@click.option("--tag", "tags", multiple=True, help="Only files with this tag; may be given several times.")
@click.option("--prefix", default="", help="Only paths that begin so.")
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
    manager, stats = console.manager, console.manager.stats()
    total = stats.quarantined if quarantine else stats.waiting if force else stats.due
    with console.progress("Deleting", total) as done:

        def progress(report: CleanupReport) -> None:
            done(sum(report.counts.values()))

        if quarantine:
            report = manager.purge_quarantine(tags=tags, prefix=prefix, progress=progress)
        else:
            report = manager.cleanup_report(force=force, tags=tags, prefix=prefix, progress=progress)
    staying = manager.stats().quarantined
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


@click.command()
@click.argument("path")
@pass_console
def explain(console: Console, path: str) -> int:
    """
    Say what would happen to a path, when and why. Status 1 when it is not registered.

    \b
      tempfleet explain /tmp/report.pdf
    """
    explanation = console.existing.explain(path)
    console.answer(explanation.as_dict(), *explanation.sentences())
    return 0 if explanation.record is not None else 1


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
    return _tell_each(console, "restored", restored, errors)


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
    return _tell_each(console, word, moved, errors)


def _tell_each(console: Console, word: str, done: int, errors: Sequence[tuple[str, TempfleetError]]) -> int:
    document = {word.replace(" ", "_"): done, "errors": [_error(*each) for each in errors]}
    console.answer(document, f"{counted(done, 'file was', 'files were')} {word}.")
    if not console.json:
        for _, error in errors:
            console.fail(type(error).__name__, str(error))
    return 1 if errors else 0


def _error(path: str, exc: TempfleetError) -> dict[str, str]:
    return {"path": path, "error": type(exc).__name__, "message": str(exc)}


def _path_of(record: FileRecord) -> str:
    return record.path


COMMANDS: tuple[click.Command, ...] = (cleanup, explain, restore, dead)
