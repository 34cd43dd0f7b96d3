"""``status``."""

from __future__ import annotations

import os
from functools import partial

import click
from rich.text import Text

from ..formatting import counted, duration, size
from ..registry import VolumeStats
from .console import Answer, Console, pass_console
from .options import duration_option
from .output import Table, name


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every volume of every host, a line each.")
@duration_option(
    "--watch",
    is_flag=False,
    flag_value="2s",
    metavar="[DURATION]",
    help="Look again every so often, 2 s unless said, until Ctrl-C.",
)
@pass_console
def status(console: Console, everything: bool, watch: float | None) -> None:
    """
    Show what is registered in this base directory, and what became of the rest.

    \b
      tempfleet status
      tempfleet status --watch
      tempfleet status --all --json
    """
    look = partial(_status_of_all if everything else _status, console)
    if watch is None:
        console.answer(*look())
    else:
        console.keep_answering(look, every_seconds=max(watch, 0.1))


def _status(console: Console) -> Answer:
    stats, volume = console.registry.stats(), console.registry.volume
    absent = "" if os.path.isdir(volume.base_dir) else " (not here)"
    if absent and os.path.exists(volume.base_dir):
        absent = " (not a directory)"
    overdue = f", the first since {duration(stats.overdue_seconds)}" if stats.due else ""
    rows: list[tuple[str, str | Text]] = [
        ("Host", name(volume.host)),
        ("Base directory", name(volume.base_dir + absent)),
        ("Registry", name(console.fleet.store.address)),
        ("Managed", f"{counted(stats.active, 'file')}, {size(stats.bytes)}"),
        ("Waiting", f"{_waiting(stats):,}" + (f" ({stats.retrying:,} to be tried again)" if stats.retrying else "")),
        ("Due", f"{stats.due:,}{overdue}"),
        ("In quarantine", f"{stats.quarantined:,}"),
        ("Being deleted", f"{stats.leased:,}"),
        ("Held", f"{stats.held:,}"),
        ("Dead letters", Text(f"{stats.dead:,}", "red" if stats.dead else "")),
        ("Registered ever", f"{stats.total('registered'):,}"),
        ("Deleted ever", f"{stats.total('deleted'):,}, {size(stats.total('deleted_bytes'))} freed"),
        ("Balance", "right" if not stats.imbalance else Text(f"wrong by {stats.imbalance}", "red")),
    ]  # fmt: skip
    document = {"host": volume.host, "base_dir": volume.base_dir, "here": not absent, **stats.as_dict()}
    return document, Table(("Status", ""), rows)


def _waiting(stats: VolumeStats) -> int:
    """Those that are where their users put them; too few by what is being purged at this moment."""
    return max(stats.waiting - stats.quarantined, 0)


def _status_of_all(console: Console) -> Answer:
    stats = console.fleet.stats(console.fleet.volumes())
    rows = [
        (name(volume.host), name(volume.base_dir), _waiting(each), each.quarantined, each.due,
         duration(each.overdue_seconds) if each.due else "", each.leased, each.held, each.dead,
         size(each.bytes), each.total("deleted"))
        for volume, each in stats.items()
    ]  # fmt: skip
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
        {"host": volume.host, "base_dir": volume.base_dir, **each.as_dict()} for volume, each in stats.items()
    ]
    return {"volumes": document}, Table(heads, rows) if rows else "No volume has ever had a file."


COMMANDS: tuple[click.Command, ...] = (status,)
