"""
The console's commands that need Celery, for the entry-point group ``tempfleet.commands``.
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
from .up import Up, default_redis_url, is_said_itself, is_url_set

LEVELS = [level.value for level in LogLevel]
PASS_THROUGH = {"ignore_unknown_options": True}
REACHED_BY = ("base_dir", "host", "namespace", "redis_url")
"""The settings that say which volume is meant, and where it is."""

COLOURS = {"tempfleet": "bright_white", "worker": "cyan", "beat": "magenta"}

log_level = click.option(
    "--loglevel", "-l", type=click.Choice(LEVELS, case_sensitive=False), help="On the console. [LOG_LEVEL]"
)
celery_options = click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]")


@click.command(context_settings=PASS_THROUGH)
@log_level
@celery_options
@pass_console
def worker(console: Console, loglevel: str | None, extra: tuple[str, ...]) -> int:
    """
    Run a worker for this host: it deletes what is due here.

    What is not known here goes to Celery.

    \b
      tempfleet worker
      TEMP_FILE_HOST=web-1 tempfleet worker --loglevel warning --concurrency 8
    """
    _ = console.manager  # what cannot be used says so here, in one sentence and not out of Celery
    console.close()  # from here on the worker logs, and an event is not to be told twice
    return run_worker(console.settings, log_level=loglevel or console.settings.log_level, extra=extra)


@click.command(context_settings=PASS_THROUGH)
@log_level
@celery_options
@pass_console
def beat(console: Console, loglevel: str | None, extra: tuple[str, ...]) -> int:
    """
    Run a beat: it sends a sweep every TEMP_FILE_CLEANUP_INTERVAL.

    One for the fleet is enough; two are the high availability, because a second sweep is empty.

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
    Run everything here, in the foreground: Redis, a worker and a beat.

    A private Redis is started, unless TEMP_FILE_REDIS_URL or --redis-url names one: in ~/.local/state/tempfleet/redis,
    one for all that this user ever starts so, with what was registered there before. What dies is started again. One
    Ctrl-C ends all in order, a second one at once.

    \b
      tempfleet up
      tempfleet --base-dir /srv/scratch --redis-url redis://cache:6379/0 up
    """
    private = not is_url_set(console.options)
    if private:
        console.options["redis_url"] = default_redis_url()
    fleet = console.fleet
    fleet.hosts()  # a Redis that does not answer stops us here, with its reason
    _ = console.manager
    names = variables()
    given = {names[field]: value for field, value in console.options.items() if value}
    lock = threading.Lock()

    def say(speaker: str, line: str) -> None:
        with lock:
            head = f"{speaker:<9} | "
            coloured = click.style(head, fg=COLOURS[speaker]) if console.is_rich else head
            click.echo(f"{coloured}{line}", err=console.json)

    def ready() -> None:
        if console.json:
            click.echo(json.dumps(_facts(console)))
            return
        for line in _greeting(console, private):
            say("tempfleet", line)

    say("tempfleet", "starting a worker and a beat ...")
    return Up(console.settings, fleet, {**os.environ, **given}, say, ready).run()


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
        f"Tempfleet is up on host {settings.host}. Ctrl-C ends it.",
        "",
        f"  registry   {console.fleet.store.address}" + (" (a private Redis)" if private else ""),
        f"  files in   {settings.base_dir}",
        f"  worker     reads the queues {facts['queue']} and {facts['host_queue']}",
        f"  cleaned    every {duration(settings.timer_interval_seconds)} by the worker, every "
        f"{duration(settings.cleanup_interval_seconds)} by beat's sweeps",
        "",
        "To have a file deleted, in another terminal:",
        "",
        *(f"  export {name}={quote(value)}" for name, value in _to_export(console).items()),
        "  tempfleet register FILE --ttl 10m",
        "",
        "or from any Celery app, for files that messages may name:",
        "",
        f"  broker     {without_password(facts['broker_url'])}",
        f"  files in   {os.pathsep.join(facts['message_roots'])}",
        "",
        f'  app.send_task("tempfleet.register", args=[path], kwargs={{"host": "{settings.host}", "ttl": 600}},',
        f'                queue="{facts["queue"]}")',
        "",
    ]


def _to_export(console: Console) -> dict[str, str]:
    """
    What another terminal must be told to reach this volume: it need have neither our options nor our environment. A
    password is not shown; a file that has the URL is named instead.
    """
    settings, told = console.settings, dict[str, str]()
    for field in REACHED_BY:
        value = getattr(settings, field)
        if field == "redis_url" and settings.redis_url_file and not is_said_itself(console.options):
            told[variables()["redis_url_file"]] = os.path.abspath(settings.redis_url_file)
        elif value != Settings.model_fields[field].get_default(call_default_factory=True):
            told[variables()[field]] = without_password(value) if field == "redis_url" else value
    return told


def commands() -> list[click.Command]:
    """What the console adds to its own."""
    return [worker, beat, up, demo]
