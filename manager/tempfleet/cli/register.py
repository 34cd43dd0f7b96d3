"""``register``, ``renew``, ``unregister``."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

import click

from ..diagnostics import NO_WORKER_YET, facts_of, problems_of
from ..errors import BatchError, UnsafePath, VolumeUnavailable
from ..filesystem import LOOK_SECONDS, bounded_at, normalise
from ..formatting import duration
from ..logs import printable
from ..records import FileRecord
from .console import Console, pass_console
from .options import tags_option, ttl_option

MILLISECOND = 0.001
"""The resolution of the registry; it rounds a time to live up."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@ttl_option
@tags_option
@click.option("--directory", is_flag=True, help="The paths are directories; each is deleted as a whole.")
@click.option(
    "--compress", is_flag=True, help="Allow compression of idle files; programs read them with manager.open."
)
@pass_console
def register(
    console: Console,
    paths: tuple[str, ...],
    ttl: float | None,
    tags: tuple[str, ...],
    directory: bool,
    compress: bool,
) -> int:
    """
    Register files for deletion after their time to live.

    Exits with 1 if any file could not be registered; the others are registered.

    \b
      tempfleet register /tmp/report.pdf --ttl 2h --tag report
      find /tmp/out -type f -print0 | xargs -0 tempfleet register --ttl 7d
    """
    if compress and directory:
        raise click.UsageError(
            "--compress and --directory cannot be combined: directories are not compressed."
        )
    manager, errors = console.manager, {}
    before = _modes(paths)
    try:
        records = manager.register_many(paths, ttl=ttl, tags=tags, directory=directory, compress=compress)
    except BatchError as exc:
        records, errors = exc.records, exc.errors
    modes = {record.path: (before.get(record.path, ""), _mode(record.path)) for record in records}
    documents = [
        record.as_dict() | dict(zip(("mode_before", "mode"), modes[record.path], strict=True))
        for record in records
    ]
    lines = [
        f"Registered {printable(record.path)}, due in {_life(record)}.{_narrowed(*modes[record.path])}"
        for record in records
    ]
    status = console.answer_with_errors({"registered": documents}, list(errors.items()), *lines)
    if records:
        _warn_if_no_host_serves(console)
    return status


def _warn_if_no_host_serves(console: Console) -> None:
    manager = console.manager
    facts = facts_of(manager.settings, console.fleet.pulse(), {manager.volume: manager.stats()})
    for problem in problems_of(facts):
        if problem.check == "hosts" and problem.code != NO_WORKER_YET:
            console.warn(str(problem))


def _modes(paths: Sequence[str]) -> dict[str, str]:
    """Path of the record -> mode of the file. Other paths are skipped, because registering refuses them."""
    modes = {}
    for path in paths:
        with suppress(UnsafePath, VolumeUnavailable):
            modes[normalise(path)] = _mode(path)
    return modes


def _mode(path: str) -> str:
    """The mode as chmod writes it, of a symlink its own; "" if the file is missing or its disk does not answer."""
    try:
        status = bounded_at(os.path.dirname(path)).ask(lambda: os.lstat(path), seconds=LOOK_SECONDS)
    except (OSError, VolumeUnavailable):
        return ""
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _narrowed(before: str, after: str) -> str:
    """A sentence that tells the owner that registering narrowed the file's mode; "" if it did not."""
    changed = before and after and before != after
    return f" Its mode was {before} and is {after} (TEMP_FILE_PERMISSION_MASK)." if changed else ""


def _life(record: FileRecord) -> str:
    return duration((record.deadline_ms - record.registered_ms) / 1000)


@click.command()
@click.argument("path")
@ttl_option
@pass_console
def renew(console: Console, path: str, ttl: float | None) -> None:
    """
    Move a file's deadline later, never earlier.

    \b
      tempfleet renew /tmp/report.pdf --ttl 1d
    """
    manager = console.manager
    path = normalise(path)
    deadline = manager.renew(path, ttl=ttl)
    left = deadline - manager.registry.now_ms() / 1000
    wanted = manager.max_age if ttl is None else ttl
    # Otherwise the old deadline is later than the one that was asked for.
    moved = left <= wanted + MILLISECOND
    kept = "" if moved else " already: its deadline is later than that, and a deadline never moves earlier"
    console.answer(
        {"path": path, "deadline_ms": round(deadline * 1000), "moved": moved},
        f"{printable(path)} is due in {duration(max(left, 0))}{kept}.",
    )


@click.command()
@click.argument("path")
@click.option("--force", is_flag=True, help="Also end the holds of others; the audit log records that.")
@pass_console
def unregister(console: Console, path: str, force: bool) -> None:
    """
    Stop managing a file; the file stays. A file that another one holds is refused.

    \b
      tempfleet unregister /tmp/report.pdf
    """
    path = normalise(path)
    console.manager.unregister(path, force=force)
    console.answer(
        {"path": path, "released": True}, f"{printable(path)} is not managed any more; the file stays."
    )


COMMANDS: tuple[click.Command, ...] = (register, renew, unregister)
