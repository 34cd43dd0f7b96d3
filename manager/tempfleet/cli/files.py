"""``ls``, ``register``, ``renew``, ``unregister``, ``hold``, ``unhold``."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import click

from ..diagnostics import host_warnings
from ..errors import BatchError, UnsafePath
from ..filesystem import beginning, normalise
from ..formatting import duration, size
from ..logs import printable
from ..records import NEAR_EXPIRY, FileRecord, State
from ..registry import Registry
from ..validation import validate_tags
from . import formats
from .console import Console, pass_console
from .formats import when
from .output import Table, known_name, known_path, records_document

MILLISECOND = 0.001
"""The registry's resolution: a time to live is rounded up to it."""

QUARANTINED = "quarantined"
"""What waits until its grace period ends is waiting to the registry; people tell it apart."""

Key = Callable[[FileRecord], tuple[float | str, str]]

ORDERS: dict[str, Key] = {
    "due": lambda record: (float("inf") if record.due_ms is None else record.due_ms, record.path),
    "registered": lambda record: (record.registered_ms, record.path),
    "size": lambda record: (-record.size_bytes, record.path),
    "path": lambda record: (record.path, record.path),
}


@click.command("ls")
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in State), QUARANTINED]),
    help="Only files in this state.",
)
@click.option("--tag", "tags", multiple=True, help="Only files with this tag; may be given several times.")
@click.option("--prefix", default="", help="Only paths that begin so.")
@click.option(
    "--due-within",
    type=formats.seconds,
    metavar="DURATION",
    help="Only waiting files that fall due in this time, or are due.",
)
@click.option(
    "--near-expiry", is_flag=True, help=f"Only files that have spent {NEAR_EXPIRY:.0%} of their lives."
)
@click.option("--sort", type=click.Choice(list(ORDERS)), default="due", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="0 for all.")
@pass_console
def ls(
    console: Console,
    state: str | None,
    tags: tuple[str, ...],
    prefix: str,
    due_within: float | None,
    near_expiry: bool,
    sort: str,
    limit: int,
) -> None:
    """
    List the files under management, the next one due first.

    Files in quarantine are shown by the paths that they had, where their disk is; tempfleet restore brings them back.

    \b
      tempfleet ls --state dead
      tempfleet ls --tag report --prefix /tmp/ --sort size --limit 20
      tempfleet ls --due-within 10m --json
      tempfleet ls --near-expiry --prefix /srv/reports/
    """
    tags, prefix, registry = validate_tags(tags), beginning(prefix), console.registry
    now_ms = registry.now_ms()
    until_ms = None if due_within is None else now_ms + due_within * 1000

    def wanted(record: FileRecord) -> bool:
        return (
            record.matches(tags=tags)
            and (not prefix or known_path(record).startswith(prefix))
            and (state is None or state_of(record) == state)
            and (until_ms is None or (record.state is State.WAITING and (record.due_ms or 0) <= until_ms))
            and (not near_expiry or record.is_near_expiry(now_ms))
        )

    waiting = near_expiry or until_ms is not None
    matching = filter(wanted, _candidates(registry, state, waiting))
    key = ORDERS[sort]
    found = heapq.nsmallest(limit + 1, matching, key=key) if limit else sorted(matching, key=key)
    unique = list({record.path: record for record in found}.values())
    shown = unique[:limit] if limit else unique
    more = len(unique) > len(shown)
    console.answer(
        {"now_ms": now_ms, "files": records_document(shown), "more": more},
        files_table(shown, now_ms) if shown else "No files.",
    )
    if more and not console.json:
        console.warn(f"there are more than {limit}; --limit 0 lists all")


def _candidates(registry: Registry, state: str | None, waiting: bool) -> Iterator[FileRecord]:
    """What falls due is in the registry proper, so no other state need be read for it."""
    if state == QUARANTINED or (waiting and state is None):
        return registry.all_records(state=State.WAITING)
    return registry.all_records(state=State(state) if state else None)


def state_of(record: FileRecord) -> str:
    return QUARANTINED if record.is_quarantined and record.state is State.WAITING else str(record.state)


def files_table(records: list[FileRecord], now_ms: int) -> Table:
    return Table(
        ("State", "Due", "Size", "Tries", "Tags", "Reason", "Path"),
        [
            (
                state_of(record),
                when(record, now_ms),
                size(record.size_bytes),
                record.attempts,
                printable(" ".join(record.tags)),
                printable(record.hold_reason or record.last_error),
                known_name(record),
            )
            for record in records
        ],
    )


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--ttl", type=formats.seconds, metavar="DURATION", help="How long they live. [TEMP_FILE_MAX_AGE]"
)
@click.option("--tag", "tags", multiple=True, help="A word to find them by; may be given several times.")
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
    console.answer(
        {
            "registered": [
                record.as_dict() | dict(zip(("mode_before", "mode"), modes[record.path], strict=True))
                for record in records
            ],
            "errors": [
                {"path": path, "error": type(exc).__name__, "message": str(exc)}
                for path, exc in errors.items()
            ],
        },
        *(
            f"Registered {printable(record.path)}, due in {_life(record)}.{_narrowed(*modes[record.path])}"
            for record in records
        ),
    )
    for warning in host_warnings(manager.stats(), manager.settings, console.fleet.hosts()) if records else ():
        console.warn(warning)
    if not console.json:
        for error in errors.values():
            console.fail(type(error).__name__, str(error))
    return 1 if errors else 0


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
@click.option("--ttl", type=formats.seconds, metavar="DURATION", help="From now. [TEMP_FILE_MAX_AGE]")
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
@click.option("--for", "seconds", type=formats.seconds, metavar="DURATION", help="For ever, without it.")
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


COMMANDS: tuple[click.Command, ...] = (ls, register, renew, unregister, hold, unhold)
