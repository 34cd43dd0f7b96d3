"""
The commands of the console that need Celery, for the entry-point group ``tempfleet.commands``.
"""

from __future__ import annotations

import json
import os
import threading
from shlex import quote
from typing import Any

import click

from tempfleet.cli import Console, pass_console
from tempfleet.embedded import broker_url
from tempfleet.errors import RegistryUnavailable
from tempfleet.formatting import duration
from tempfleet.settings import LogLevel, Settings, variables, without_password

from .. import routing
from ..demo import demo
from .node import run_beat, run_worker
from .up import Up, default_redis_url, is_url_set, is_url_set_directly

LEVELS = [level.value for level in LogLevel]
PASS_THROUGH = {"ignore_unknown_options": True}
VOLUME_SETTINGS = ("base_dir", "host", "namespace", "redis_url")
"""The settings that identify a volume, and the Redis that has its records."""

COLOURS = {"tempfleet": "bright_white", "worker": "cyan", "beat": "magenta"}

log_level = click.option(
    "--loglevel",
    "-l",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Level of the log on the console. [LOG_LEVEL]",
)
celery_options = click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]")


@click.command(context_settings=PASS_THROUGH)
@log_level
@celery_options
@pass_console
def worker(console: Console, loglevel: str | None, extra: tuple[str, ...]) -> int:
    """
    Run a worker for this host. It deletes the expired files of the host.

    Unknown options are passed to Celery. Ctrl-C lets the current tasks end.

    \b
      tempfleet worker
      TEMP_FILE_HOST=web-1 tempfleet worker --loglevel warning --concurrency 8
    """
    # Raises here, in one sentence, if a setting or a directory cannot be used; Celery would print a traceback.
    _ = console.manager
    # From here on the worker logs; otherwise each event would be logged twice.
    console.close()
    return run_worker(console.settings, log_level=loglevel or console.settings.log_level, extra=extra)


@click.command(context_settings=PASS_THROUGH)
@log_level
@celery_options
@pass_console
def beat(console: Console, loglevel: str | None, extra: tuple[str, ...]) -> int:
    """
    Run a beat. It sends a sweep every TEMP_FILE_CLEANUP_INTERVAL.

    One beat is enough for the fleet. Two give high availability, because a second sweep does no harm.

    \b
      TEMP_FILE_CLEANUP_INTERVAL=60 tempfleet beat
    """
    try:
        console.fleet.hosts()
    except RegistryUnavailable as exc:
        console.warn(f"{exc} Until then no sweep is sent.")
    console.close()
    return run_beat(console.settings, log_level=loglevel or console.settings.log_level, extra=extra)


@click.command()
@pass_console
def up(console: Console) -> int:
    """
    Run everything on this host, in the foreground: Redis, a worker and a beat.

    Unless TEMP_FILE_REDIS_URL or --redis-url is set, this starts a private Redis in ~/.local/state/tempfleet/redis. All
    `up` commands of this user share it, and its records are kept. A worker or beat that ends is restarted. The first
    Ctrl-C stops everything in order, a second one at once.

    \b
      tempfleet up
      tempfleet --base-dir /srv/scratch --redis-url redis://cache:6379/0 up
    """
    private = not is_url_set(console.options)
    if private:
        console.options["redis_url"] = default_redis_url()
    fleet = console.fleet
    # Both raise here, in one sentence, if Redis or the base directory cannot be used.
    fleet.hosts()
    _ = console.manager
    names = variables()
    options = {names[field]: value for field, value in console.options.items() if value}
    lock = threading.Lock()

    def print_line(program: str, line: str) -> None:
        with lock:
            head = f"{program:<9} | "
            coloured = click.style(head, fg=COLOURS[program]) if console.is_rich else head
            click.echo(f"{coloured}{line}", err=console.json)

    def on_ready() -> None:
        if console.json:
            click.echo(json.dumps(_facts(console)))
            return
        for line in _greeting(console, private):
            print_line("tempfleet", line)

    print_line("tempfleet", "starting a worker and a beat ...")
    return Up(console.settings, fleet, {**os.environ, **options}, print_line, on_ready).run()


def _facts(console: Console) -> dict[str, Any]:
    settings = console.settings
    return {
        "host": settings.host,
        "base_dir": settings.base_dir,
        "redis_url": settings.redis_url,
        "broker_url": broker_url(settings.effective_broker_url),
        "message_roots": settings.confined_roots,
        "queue": routing.shared_queue(settings).name,
        "host_queue": routing.host_queue(settings, settings.host).name,
        "interval_seconds": settings.cleanup_interval_seconds,
    }


def _greeting(console: Console, private: bool) -> list[str]:
    settings, facts = console.settings, _facts(console)
    return [
        "",
        f"Tempfleet is up on host {settings.host}. Press Ctrl-C to stop it.",
        "",
        f"  registry   {console.fleet.store.address}" + (" (a private Redis)" if private else ""),
        f"  files in   {settings.base_dir}",
        f"  worker     reads the queues {facts['queue']} and {facts['host_queue']}",
        f"  cleaned    every {duration(settings.timer_interval_seconds)} by the worker's timer, every "
        f"{duration(settings.cleanup_interval_seconds)} by beat's sweeps",
        "",
        "To register a file for deletion, in another terminal:",
        "",
        *(f"  export {name}={quote(value)}" for name, value in _to_export(console).items()),
        "  tempfleet register FILE --ttl 10m",
        "",
        "Or from any Celery app, with this broker, for files in these directories:",
        "",
        f"  broker     {without_password(facts['broker_url'])}",
        f"  files in   {os.pathsep.join(facts['message_roots'])}",
        "",
        f'  app.send_task("tempfleet.register", args=[path], kwargs={{"host": "{settings.host}", "ttl": 600}},',
        f'                queue="{facts["queue"]}", serializer="json")',
        "",
    ]


def _to_export(console: Console) -> dict[str, str]:
    """
    The variables that another terminal needs to use this volume, even without our options and our environment. A
    password is never shown; if the URL is in a file, the file is named instead.
    """
    settings, exports = console.settings, dict[str, str]()
    for field in VOLUME_SETTINGS:
        value = getattr(settings, field)
        if field == "redis_url" and settings.redis_url_file and not is_url_set_directly(console.options):
            exports[variables()["redis_url_file"]] = os.path.abspath(settings.redis_url_file)
        elif value != Settings.model_fields[field].get_default(call_default_factory=True):
            exports[variables()[field]] = without_password(value) if field == "redis_url" else value
    return exports


def commands() -> list[click.Command]:
    """Returns the commands that the console adds to its own."""
    return [worker, beat, up, demo]
