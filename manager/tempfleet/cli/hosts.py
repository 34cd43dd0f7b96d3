"""``hosts``."""

from __future__ import annotations

from shlex import quote
from typing import Any

import click
from rich.text import Text

from ..diagnostics import not_served_warning
from ..errors import UnknownHost
from ..formatting import counted, duration
from ..logs import printable
from ..reconciliation import preview_takeover
from ..registry import Host, Volume, VolumeStats
from .console import Console, pass_console
from .output import Table, name


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
    refused = [not_served_warning(volume, each) for volume, each in stats.items() if each.refused]
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


COMMANDS: tuple[click.Command, ...] = (hosts,)
