"""``hosts``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click
from rich.text import Text

from ..diagnostics import facts_of, problems_of
from ..errors import HostLive, UnknownHost
from ..formatting import counted, duration, shell_word
from ..logs import printable
from ..reconciliation import preview_takeover
from ..registry import Fleet, Forgetting, Host, Volume, VolumeStats, preview_forget
from ..registry import forget as forget_host
from .console import Console, pass_console
from .options import duration_option
from .output import Table, text_cell


@click.group(invoke_without_command=True)
@click.pass_context
def hosts(ctx: click.Context) -> None:
    """
    Show the hosts: live or silent, and the files that wait for each.

    Files of a silent host stay registered. They are deleted when the host returns.

    \b
      tempfleet hosts
      tempfleet hosts take-over web-7
      tempfleet hosts forget web-7
    """
    if ctx.invoked_subcommand is None:
        _show_hosts(ctx.ensure_object(Console))


def _show_hosts(console: Console) -> None:
    fleet = console.fleet
    pulse, all_stats = fleet.pulse(), fleet.stats(fleet.volumes())
    by_name = {host.name: host for host in pulse.hosts}
    by_host: dict[str, dict[Volume, VolumeStats]] = {host: {} for host in by_name}
    for volume, stats in all_stats.items():
        by_host.setdefault(volume.host, {})[volume] = stats
    rows = [
        (
            text_cell(host),
            _liveness(by_name.get(host)),
            duration(by_name[host].silent_seconds) if host in by_name else "",
            len(volumes),
            sum(stats.active for stats in volumes.values()),
            sum(stats.due for stats in volumes.values()),
            sum(stats.dead for stats in volumes.values()),
        )
        for host, volumes in sorted(by_host.items())
    ]
    document = [_host_document(host, by_name.get(host), volumes) for host, volumes in sorted(by_host.items())]
    heads = ("Host", "State", "Last heard", "Volumes", "Files", "Due", "Dead")
    problems = problems_of(facts_of(console.settings, pulse, all_stats))
    warnings = [str(problem) for problem in problems if problem.code == "not-served"]
    console.answer({"hosts": document}, Table(heads, rows) if rows else "There is no host yet.", *warnings)


def _liveness(host: Host | None) -> Text:
    if host is None:
        return Text("unknown", "yellow")
    if host.live:
        return Text("live", "green")
    return Text("silent", "yellow" if host.ephemeral_seconds else "red")


def _host_document(name: str, host: Host | None, volumes: dict[Volume, VolumeStats]) -> dict[str, Any]:
    return {
        "host": name,
        "state": _liveness(host).plain,
        "silent_seconds": None if host is None else round(host.silent_seconds, 3),
        "ephemeral_seconds": 0 if host is None else host.ephemeral_seconds,
        "volumes": [
            {
                "base_dir": volume.base_dir,
                "active": stats.active,
                "due": stats.due,
                "dead": stats.dead,
                "refused": stats.not_served,
            }
            for volume, stats in volumes.items()
        ],
    }


@hosts.command()
@click.argument("host", metavar="NAME")
@click.option("--force", is_flag=True, help="Retire the host even if it is live.")
@click.option("--dry-run", is_flag=True, help="Show how many records would stay; change nothing.")
@pass_console
def retire(console: Console, host: str, force: bool, dry_run: bool) -> None:
    """
    Drop only a host's entry in the list; see forget to drop its records, too.

    Its records stay in the registry, and its files stay on its disk. The host is listed again if one of its workers
    sends a heartbeat.

    \b
      tempfleet hosts retire batch-7 --dry-run
    """
    fleet = console.fleet
    if host not in {listed.name for listed in fleet.hosts()}:
        raise UnknownHost(f"No worker of host {printable(host)!r} was ever seen.", host=host)
    left = sum(stats.records for stats in fleet.stats(fleet.volumes(host=host)).values())
    if not dry_run:
        fleet.retire(host, force=force)
    verb = "would be retired" if dry_run else "is retired"
    console.answer(
        {"host": host, "retired": not dry_run, "records": left},
        f"{printable(host)} {verb}; its {counted(left, 'record stays', 'records stay')}.",
    )


@hosts.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@duration_option("--silent-for", help="Forget every host that has been silent for so long.")
@click.option("--force", is_flag=True, help="Forget also records of held and quarantined files.")
@click.option("--dry-run", is_flag=True, help="Show what would be forgotten; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_console
def forget(
    console: Console, names: tuple[str, ...], silent_for: float | None, force: bool, dry_run: bool, yes: bool
) -> int:
    """
    Forget hosts that do not come back, with all their records.

    Their records, volumes and heartbeats leave the registry, and their alerts end. The files stay on their disks; if a
    disk is still there, tempfleet adopt registers them again. If it was interrupted, repeat the command.

    Exits with 1 if any record had to stay, or if a host came back meanwhile.

    \b
      tempfleet hosts forget web-7 --dry-run
      tempfleet hosts forget --silent-for 30d --yes
    """
    fleet = console.fleet
    chosen = list(dict.fromkeys([*names, *_silent_for(fleet, silent_for)]))
    if not chosen and silent_for is None:
        raise click.UsageError("Name a host, or give --silent-for.")
    reports = [preview_forget(fleet, name, with_kept=force) for name in chosen]
    if dry_run:
        return _answer_forgotten(console, reports, "would be forgotten", "would stay")
    total = sum(report.forgotten for report in reports)
    names_in_words = ", ".join(map(printable, chosen))
    question = f"Forget {names_in_words}, with {counted(total, 'record')}?"
    if chosen and not yes and not click.confirm(question, err=True):
        console.answer({"hosts": []}, "Nothing was changed.")
        return 1
    done = _forget_each(console, chosen, total, with_kept=force)
    status = _answer_forgotten(console, done, "forgotten", "stayed")
    return status or int(len(done) < len(chosen))


def _forget_each(console: Console, chosen: list[str], total: int, *, with_kept: bool) -> list[Forgetting]:
    done, before = list[Forgetting](), 0
    with console.progress("Forgetting", total) as progress:
        for name in chosen:
            here = partial(_add, progress, before)
            try:
                done.append(forget_host(console.fleet, name, with_kept=with_kept, progress=here))
            except HostLive as exc:
                console.fail("HostLive", str(exc))
            before = sum(report.forgotten for report in done)
    return done


def _silent_for(fleet: Fleet, seconds: float | None) -> list[str]:
    if seconds is None:
        return []
    return [host.name for host in fleet.hosts() if not host.live and host.silent_seconds >= seconds]


def _add(progress: Callable[[int], None], before: int, forgotten: int) -> None:
    progress(before + forgotten)


def _answer_forgotten(console: Console, reports: list[Forgetting], verb: str, stayed: str) -> int:
    lines = [f"{printable(report.host)}: {counted(report.forgotten, 'record')} {verb}." for report in reports]
    for report in reports:
        lines += [
            f"{counted(n, 'record')} of {printable(report.host)} {stayed}: {WHY_LEFT[why]}."
            for why, n in sorted(report.left.items())
        ]
    if any(report.forgotten for report in reports):
        lines.append(
            "The files stay on their disks. If a disk is still there, tempfleet adopt registers them again."
        )
    document = {"dry_run": verb != "forgotten", "hosts": [report.as_dict() for report in reports]}
    console.answer(document, *(lines or ["No host has been silent for so long."]))
    return 1 if any(report.left for report in reports) else 0


WHY_LEFT = {
    "held": "their files are held; with --force they go, too",
    "quarantined": "their files are in quarantine; with --force they go, too",
    "newer": "they were registered meanwhile, so a program of that host runs",
    "leased": "a process that died has claimed them. Repeat the command when its lease has ended",
    "taken": "this host has a record of its own for the path. If that is the right one, unregister the other",
    "damaged": "they cannot be read; tempfleet doctor lists them",
}


@hosts.command("take-over")
@click.argument("host", metavar="NAME")
@click.option("--dry-run", is_flag=True, help="Show how many records would be taken over; change nothing.")
@pass_console
def take_over(console: Console, host: str, dry_run: bool) -> int:
    """
    Take over the records of a host that does not come back, on the host that has its disk now.

    Its records of this base directory become records of this host. They keep their deadlines, holds and states. The
    workers of the other host must have stopped.

    Exits with 1 if any record had to stay.

    \b
      tempfleet --base-dir /srv/scratch hosts take-over web-7
    """
    manager = console.existing
    if dry_run:
        report = preview_takeover(host, manager.registry, manager.roots, console.fleet)
        sentence = f"Nothing was changed; {counted(report.entered, 'record')} of {printable(host)} would be taken over."
    else:
        with console.progress("Taking over") as progress:
            report = manager.take_over(host, progress=progress)
        sentence = f"Took over {counted(report.entered, 'record')} of {printable(host)}."
    stays = "would stay" if dry_run else "stayed"
    console.answer(
        report.as_dict(),
        sentence,
        *(
            f"{counted(n, 'record')} {stays} there: {WHY_LEFT[why]}."
            for why, n in sorted(report.left.items())
        ),
        *(
            f"  TEMP_FILE_HOST={shell_word(host)} tempfleet unregister {shell_word(path)}"
            for path in report.taken
        ),
    )
    return 1 if report.left else 0


COMMANDS: tuple[click.Command, ...] = (hosts,)
