"""``ls``."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import click

from ..filesystem import normalise_prefix
from ..formatting import counted, size
from ..logs import printable
from ..records import NEAR_EXPIRY, FileRecord, State, has_prefix
from ..registry import Registry
from ..validation import validate_tags
from .console import Console, pass_console
from .options import duration_option, prefix_filter, tag_filter
from .output import Table, original_path, path_cell, records_document, when

QUARANTINED = "quarantined"
"""The state that people see of quarantined files; in the registry they are waiting files."""

HOLD_ENDED = "hold ended"
"""Shown instead of the state "held" after the end of a hold, until the next clean-up."""

Key = Callable[[FileRecord], tuple[float | str, str]]

ORDERS: dict[str, Key] = {
    "due": lambda record: (float("inf") if record.due_ms is None else record.due_ms, record.path),
    "registered": lambda record: (record.registered_ms, record.path),
    "size": lambda record: (-record.size_bytes, record.path),
    "path": lambda record: (record.path, record.path),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which files to list; None, "" and () select all."""

    now_ms: int
    state: str | None
    tags: tuple[str, ...]
    prefix: str
    due_within_seconds: float | None
    near_expiry: bool

    def records(self, registry: Registry) -> Iterator[FileRecord]:
        return filter(self.matches, registry.all_records(state=self._stored_state()))

    def matches(self, record: FileRecord) -> bool:
        return (
            record.matches(tags=self.tags)
            and has_prefix(original_path(record), self.prefix)
            and (self.state is None or state_of(record) == self.state)
            and (self.due_within_seconds is None or self._is_due_soon(record, self.due_within_seconds))
            and (not self.near_expiry or record.is_near_expiry(self.now_ms))
        )

    def _is_due_soon(self, record: FileRecord, seconds: float) -> bool:
        return record.state is State.WAITING and (record.due_ms or 0) <= self.now_ms + seconds * 1000

    def _stored_state(self) -> State | None:
        """The only state that has to be read, if there is one: only waiting files are due or near their expiry."""
        if self.state == QUARANTINED:
            return State.WAITING
        if self.state is None:
            return State.WAITING if self.near_expiry or self.due_within_seconds is not None else None
        return State(self.state)


@click.command("ls")
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in State), QUARANTINED]),
    help="Only files in this state.",
)
@tag_filter
@prefix_filter
@duration_option(
    "--due-within",
    help="Only waiting files that are due, or will be within this time.",
)
@click.option(
    "--near-expiry",
    is_flag=True,
    help=f"Only files that have used up {NEAR_EXPIRY:.0%} of their time to live.",
)
@click.option(
    "--sort", type=click.Choice(list(ORDERS)), default="due", show_default=True, help="Sort by this."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Maximum number of files; 0 is all.",
)
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
    List the registered files, the next one due first.

    Quarantined files are shown by their original paths if their disk is on this host. tempfleet restore brings them
    back.

    \b
      tempfleet ls --state dead
      tempfleet ls --tag report --prefix /tmp/ --sort size --limit 20
      tempfleet ls --due-within 10m --json
      tempfleet ls --near-expiry --prefix /srv/reports/
    """
    registry = console.registry
    now_ms = registry.now_ms()
    chosen = Filter(now_ms, state, validate_tags(tags), normalise_prefix(prefix), due_within, near_expiry)
    records, more = _first(chosen.records(registry), ORDERS[sort], limit)
    console.answer(
        {"now_ms": now_ms, "files": records_document(records), "more": more},
        files_table(records, now_ms) if records else "No files.",
    )
    if more and not console.json:
        console.warn(f"there are more than {limit} files; --limit 0 lists all")


def _first(records: Iterable[FileRecord], key: Key, limit: int) -> tuple[list[FileRecord], bool]:
    """The first *limit* records (0: all) by *key*, each path once, and whether there are more."""
    ordered = heapq.nsmallest(limit + 1, records, key=key) if limit else sorted(records, key=key)
    unique = list({record.path: record for record in ordered}.values())
    return (unique[:limit], len(unique) > limit) if limit else (unique, False)


def state_of(record: FileRecord) -> str:
    return QUARANTINED if record.is_quarantined and record.state is State.WAITING else str(record.state)


def _why(record: FileRecord) -> str:
    """The reason of the hold that lasts longest, and the number of other holds; of other files, the last error."""
    more = f" (+{counted(record.keepers - 1, 'hold')})" if record.keepers > 1 else ""
    return (printable(record.hold_reason or record.last_error) + more).lstrip()


def files_table(records: list[FileRecord], now_ms: int) -> Table:
    return Table(
        ("State", "Due", "Size", "Tries", "Tags", "Reason", "Path"),
        [
            (
                HOLD_ENDED if record.has_ended_hold(now_ms) else state_of(record),
                when(record, now_ms),
                size(record.size_bytes),
                record.attempts,
                printable(" ".join(record.tags)),
                _why(record),
                path_cell(record),
            )
            for record in records
        ],
    )


COMMANDS: tuple[click.Command, ...] = (ls,)
