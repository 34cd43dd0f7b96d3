"""``register``, ``renew``, ``unregister``, ``hold``, ``unhold``."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

import click

from ..diagnostics import host_warnings
from ..errors import BatchError, UnsafePath
from ..filesystem import normalise
from ..formatting import duration
from ..logs import printable
from ..records import FileRecord
from .console import Console, pass_console
from .options import duration_option, tags_option, ttl_option

MILLISECOND = 0.001
"""The registry's resolution: a time to live is rounded up to it."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@ttl_option
@tags_option
@click.option("--directory", is_flag=True, help="The paths are directories, deleted whole.")
@click.option("--compress", is_flag=True, help="They may be compressed when idle; readers use manager.open.")
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
    Have files deleted when their time to live is over.

    What can be registered is; the status is 1 if anything could not be.

    \b
      tempfleet register /tmp/report.pdf --ttl 2h --tag report
      find /tmp/out -type f -print0 | xargs -0 tempfleet register --ttl 7d
    """
    if compress and directory:
        raise click.UsageError("--compress is for files; a directory is not compressed.")
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
    for warning in host_warnings(manager.stats(), manager.settings, console.fleet.hosts()) if records else ():
        console.warn(warning)
    return status


def _modes(paths: Sequence[str]) -> dict[str, str]:
    """By the names that records have; a link keeps its own, and a name that none can have is refused in a moment."""
    found = {}
    for path in paths:
        with suppress(UnsafePath):
            found[normalise(path)] = _mode(path)
    return found


def _mode(path: str) -> str:
    """As chmod writes it; "" for what is not there."""
    try:
        return f"{stat.S_IMODE(os.lstat(path).st_mode):04o}"
    except OSError:
        return ""


def _narrowed(before: str, after: str) -> str:
    """What registering did to a file's rights, for its owner wonders otherwise who did."""
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
    Move a file's deadline to later, never to earlier.

    \b
      tempfleet renew /tmp/report.pdf --ttl 1d
    """
    manager = console.manager
    deadline = manager.renew(path, ttl=ttl)
    left = deadline - manager.registry.now_ms() / 1000
    asked = manager.max_age if ttl is None else ttl
    moved = left <= asked + MILLISECOND  # what was asked for, less the time since
    kept = "" if moved else " already: it lives longer than that, and no deadline is moved earlier"
    console.answer(
        {"path": path, "deadline_ms": round(deadline * 1000), "moved": moved},
        f"{printable(path)} is due in {duration(max(left, 0))}{kept}.",
    )


@click.command()
@click.argument("path")
@pass_console
def unregister(console: Console, path: str) -> None:
    """
    Take a file out of management; it stays where it is, and is its user's again.

    \b
      tempfleet unregister /tmp/report.pdf
    """
    console.manager.unregister(path)
    console.answer({"path": path, "released": True}, f"{printable(path)} is no longer managed.")


@click.command()
@click.argument("path")
@duration_option("--for", "seconds", help="For ever, without it.")
@click.option("--reason", default="", help="Why, for the people who find it held.")
@pass_console
def hold(console: Console, path: str, seconds: float | None, reason: str) -> None:
    """
    Keep a file, whatever its deadline.

    \b
      tempfleet hold /tmp/core.1234 --for 7d --reason "crash of Tuesday, ticket 117"
    """
    console.manager.hold(path, seconds, reason=reason)
    span = "until somebody ends it" if seconds is None else f"for {duration(seconds)}"
    document = {"path": path, "held_seconds": seconds, "reason": reason}
    console.answer(document, f"{printable(path)} is kept {span}.")


@click.command()
@click.argument("path")
@pass_console
def unhold(console: Console, path: str) -> int:
    """
    End a hold: the file falls due at its own deadline. Status 1 when it was not held.

    \b
      tempfleet unhold /tmp/core.1234
    """
    lifted = console.manager.unhold(path)
    said = "falls due at its own deadline again" if lifted else "was not held"
    console.answer({"path": path, "lifted": lifted}, f"{printable(path)} {said}.")
    return 0 if lifted else 1


COMMANDS: tuple[click.Command, ...] = (register, renew, unregister, hold, unhold)
