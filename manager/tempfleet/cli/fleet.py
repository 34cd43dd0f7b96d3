"""``status``, ``hosts``, ``health``, ``version``."""

from __future__ import annotations

import os
import platform
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from shlex import quote
from typing import Any

import click
from rich.text import Text

from ..diagnostics import DEGRADED, HEALTHY, UNHEALTHY, refusal
from ..errors import TempfleetError, UnknownHost
from ..formatting import counted, duration, size
from ..logs import printable
from ..reconciliation import preview_takeover
from ..registry import Host, Volume, VolumeStats
from . import formats
from .console import Answer, Console, pass_console
from .output import Table, name

STATUS_OF_HEALTH = {HEALTHY: 0, DEGRADED: 1, UNHEALTHY: 2}
COLOURS = {HEALTHY: "green", DEGRADED: "yellow", UNHEALTHY: "red"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every volume of every host, a line each.")
@click.option(
    "--watch",
    type=formats.seconds,
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


@click.group(invoke_without_command=True)
@click.pass_context
def hosts(ctx: click.Context) -> None:
    """
    Show every host: live or silent, for how long, and what waits there.

    The files of a silent host stay registered, and are deleted when it returns.

    \b
      tempfleet hosts
      tempfleet hosts take-over web-7
      tempfleet hosts retire web-7
    """
    if ctx.invoked_subcommand is None:
        _show_hosts(ctx.ensure_object(Console))


def _show_hosts(console: Console) -> None:
    fleet = console.fleet
    seen = {host.name: host for host in fleet.hosts()}
    stats = fleet.stats(fleet.volumes())
    volumes: dict[str, dict[Volume, VolumeStats]] = {host: {} for host in seen}
    for volume, each in stats.items():
        volumes.setdefault(volume.host, {})[volume] = each
    rows = [
        (
            name(host),
            _liveness(seen.get(host)),
            duration(seen[host].silent_seconds) if host in seen else "",
            len(found),
            sum(each.active for each in found.values()),
            sum(each.due for each in found.values()),
            sum(each.dead for each in found.values()),
        )
        for host, found in sorted(volumes.items())
    ]
    document = [_host_document(host, seen.get(host), found) for host, found in sorted(volumes.items())]
    heads = ("Host", "State", "Last heard", "Volumes", "Files", "Due", "Dead")
    refused = [refusal(volume, each) for volume, each in stats.items() if each.refused]
    console.answer({"hosts": document}, Table(heads, rows) if rows else "No host was ever seen.", *refused)


def _liveness(host: Host | None) -> Text:
    if host is None:
        return Text("unknown", "yellow")
    return Text("live", "green") if host.live else Text("silent", "red")


def _host_document(name: str, host: Host | None, volumes: dict[Volume, VolumeStats]) -> dict[str, Any]:
    return {
        "host": name,
        "state": _liveness(host).plain,
        "silent_seconds": None if host is None else round(host.silent_seconds, 3),
        "volumes": [
            {
                "base_dir": volume.base_dir,
                "active": each.active,
                "due": each.due,
                "dead": each.dead,
                "refused": each.refused,
            }
            for volume, each in volumes.items()
        ],
    }


@hosts.command()
@click.argument("host", metavar="NAME")
@click.option("--force", is_flag=True, help="Also one that is live.")
@click.option("--dry-run", is_flag=True, help="Say what stays behind, and change nothing.")
@pass_console
def retire(console: Console, host: str, force: bool, dry_run: bool) -> None:
    """
    Forget a host that does not come back: it is unknown until a worker of it speaks again.

    Its records stay in the registry, and its files on its disk.

    \b
      tempfleet hosts retire batch-7 --dry-run
    """
    fleet = console.fleet
    if host not in {each.name for each in fleet.hosts()}:
        raise UnknownHost(f"No worker of host {printable(host)!r} was ever seen.", host=host)
    left = sum(stats.records for stats in fleet.stats(fleet.volumes(host=host)).values())
    if not dry_run:
        fleet.retire(host, force=force)
    told = "would be retired" if dry_run else "is retired"
    console.answer(
        {"host": host, "retired": not dry_run, "records": left},
        f"{printable(host)} {told}; its {counted(left, 'record stays', 'records stay')}.",
    )


WHY_LEFT = {
    "leased": "a claimer that died has them until its lease runs out; say it again then",
    "taken": "this host has a record of its own for the path; if that is the right one, let go of the other",
    "damaged": "nobody can read them (tempfleet doctor)",
}


@hosts.command("take-over")
@click.argument("host", metavar="NAME")
@click.option("--dry-run", is_flag=True, help="Say what would be taken over, and change nothing.")
@pass_console
def adopt_host(console: Console, host: str, dry_run: bool) -> int:
    """
    Take over the records of a host that does not come back, where its disk is now.

    What it had registered in this base directory becomes this host's, as it is: deadlines, holds, dead letters. Its
    workers must have stopped. Status 1 if something had to stay.

    \b
      tempfleet --base-dir /srv/scratch hosts take-over web-7
    """
    manager = console.existing
    if dry_run:
        done = preview_takeover(host, manager.registry, manager.roots, console.fleet)
        told = f"Nothing was changed; {counted(done.entered, 'record')} of {printable(host)} would be taken over."
    else:
        with console.progress("Taking over") as progress:
            done = manager.take_over(host, progress=progress)
        told = f"Took over {counted(done.entered, 'record')} of {printable(host)}."
    stays = "would stay" if dry_run else "stayed"
    console.answer(
        done.as_dict(),
        told,
        *(f"{counted(n, 'record')} {stays} there: {WHY_LEFT[why]}." for why, n in sorted(done.left.items())),
        *(
            f"  TEMP_FILE_HOST={printable(host)} tempfleet unregister {quote(printable(path))}"
            for path in done.taken
        ),
    )
    return 1 if done.left else 0


@click.command()
@pass_console
def health(console: Console) -> int:
    """
    Say whether this base directory and its registry are well, for people and for probes.

    \b
    Exit status:
      0  healthy
      1  degraded: it works, and somebody should look
      2  unhealthy: it does not work

    \b
      tempfleet health --json
    """
    try:
        report = console.existing.health_check()
    except TempfleetError as exc:
        report = {"status": UNHEALTHY, "error": str(exc)}
    status = str(report["status"])
    rows: list[tuple[str, str | Text]] = [("status", Text(status, COLOURS[status]))]
    rows += [
        (key, printable(str(value)))
        for key, value in report.items()
        if key not in ("status", "timestamp", "warnings", "warning")
    ]
    rows += [("warning", warning) for warning in report.get("warnings", ())]
    console.answer(report, Table(("Health", ""), rows))
    return STATUS_OF_HEALTH[status]


@click.command()
@pass_console
def version(console: Console) -> None:
    """
    Show the versions of Tempfleet and of what it stands on.

    \b
      tempfleet version --json
    """
    versions = {"tempfleet": _version("tempfleet"), "python": platform.python_version()}
    versions |= {package: _version(package) for package in ("celery", "redis")}
    console.answer(versions, *(f"{package} {number}" for package, number in versions.items()))


def _version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "not installed"


@click.command("accept-disk")
@pass_console
def accept_disk(console: Console) -> None:
    """
    Say that the base directory is right as it is, though its records are of files on another disk.

    Until then nothing is deleted there: its disk may just not be mounted. Afterwards records of files that are not
    there are dropped at their deadlines.

    Not asked for in memory (tmpfs) and below the system's temp directory, where a directory is expected to be made
    anew: records of files that went with the old one are dropped.

    \b
      tempfleet --base-dir /srv/scratch accept-disk
    """
    console.manager.accept_disk()
    console.answer({"accepted": True}, f"{printable(console.manager.base_dir)} is accepted.")


COMMANDS: tuple[click.Command, ...] = (accept_disk, status, hosts, health, version)
