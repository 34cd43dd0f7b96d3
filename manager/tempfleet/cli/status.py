"""``status``."""

from __future__ import annotations

import os
from functools import partial

import click
from rich.text import Text

from ..diagnostics import clock_problem
from ..errors import VolumeUnavailable
from ..filesystem import bounded_at
from ..formatting import counted, duration, size
from ..registry import VolumeStats
from .console import Answer, Console, pass_console
from .options import duration_option
from .output import Table, text_cell


@click.command()
@click.option("--all", "everything", is_flag=True, help="Show every volume of every host, one per line.")
@duration_option(
    "--watch",
    is_flag=False,
    flag_value="2s",
    metavar="[DURATION]",
    help="Repeat it until Ctrl-C, every 2 s by default.",
)
@pass_console
def status(console: Console, everything: bool, watch: float | None) -> None:
    """
    Show what is registered here, and the totals of all files so far.

    \b
      tempfleet status
      tempfleet status --watch
      tempfleet status --all --json
    """
    read = partial(_status_of_all if everything else _status, console)
    if watch is None:
        console.answer(*read())
    else:
        console.keep_answering(read, every_seconds=max(watch, 0.1))


def _absence(path: str) -> str:
    """What is wrong with the base directory, to be put after its name; "" if nothing is."""
    try:
        exists, is_directory = bounded_at(path).ask(lambda: (os.path.exists(path), os.path.isdir(path)))
    except VolumeUnavailable as exc:
        return f" ({exc.reason})"
    return "" if is_directory else " (not a directory)" if exists else " (not here)"


def _status(console: Console) -> Answer:
    stats, volume = console.registry.stats(), console.registry.volume
    absent = _absence(volume.base_dir)
    overdue = f", the first for {duration(stats.overdue_seconds)}" if stats.due else ""
    problem = clock_problem(stats)
    rows: list[tuple[str, str | Text]] = [
        ("Host", text_cell(volume.host)),
        ("Base directory", text_cell(volume.base_dir + absent)),
        ("Registry", text_cell(console.fleet.store.address)),
        ("Managed", f"{counted(stats.active, 'file')}, {size(stats.bytes)}"),
        (
            "Waiting",
            f"{_waiting(stats):,}" + (f" ({stats.retrying:,} to be retried)" if stats.retrying else ""),
        ),
        ("Due", f"{stats.due:,}{overdue}"),
        ("In quarantine", f"{stats.quarantined:,}"),
        ("Being deleted", f"{stats.leased:,}"),
        ("Held", f"{stats.held:,}" + (f" ({stats.keepers:,} holds)" if stats.keepers > stats.held else "")),
        ("Dead letters", Text(f"{stats.dead:,}", "red" if stats.dead else "")),
        ("Registered in total", f"{stats.total('registered'):,}"),
        ("Deleted in total", f"{stats.total('deleted'):,}, {size(stats.total('deleted_bytes'))} freed"),
        ("Clock", "ok" if problem is None else Text(f"{problem.text}. {problem.todo}", "red")),
        ("Balance", "ok" if not stats.imbalance else Text(f"off by {stats.imbalance}", "red")),
    ]
    document = {"host": volume.host, "base_dir": volume.base_dir, "here": not absent, **stats.as_dict()}
    return document, Table(("Status", ""), rows)


def _waiting(stats: VolumeStats) -> int:
    """Waiting files that are not in quarantine; too few by the files that are being purged at this moment."""
    return max(stats.waiting - stats.quarantined, 0)


def _status_of_all(console: Console) -> Answer:
    all_stats = console.fleet.stats(console.fleet.volumes())
    rows = [
        (
            text_cell(volume.host),
            text_cell(volume.base_dir),
            _waiting(stats),
            stats.quarantined,
            stats.due,
            duration(stats.overdue_seconds) if stats.due else "",
            stats.leased,
            stats.held,
            stats.dead,
            size(stats.bytes),
            stats.total("deleted"),
        )
        for volume, stats in all_stats.items()
    ]
    heads = (
        "Host",
        "Base directory",
        "Waiting",
        "Quarantined",
        "Due",
        "Overdue",
        "Leased",
        "Held",
        "Dead",
        "Size",
        "Deleted",
    )
    document = [
        {"host": volume.host, "base_dir": volume.base_dir, **stats.as_dict()}
        for volume, stats in all_stats.items()
    ]
    return {"volumes": document}, Table(heads, rows) if rows else "No file was ever registered."


COMMANDS: tuple[click.Command, ...] = (status,)
