"""A worker or a beat of our own app, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from celery.signals import worker_shutting_down

from tempfleet import Settings

from ..app import make_app


def run_worker(
    settings: Settings, *, log_level: str = "INFO", quiet: bool = False, extra: Sequence[str] = ()
) -> int:
    """
    Serve the settings' host until a signal ends it. Returns Celery's exit status, but 0 after one Ctrl-C.

    Args:
        quiet: do not print Celery's banner.
        extra: options of Celery.
    """
    name = f"tempfleet@{settings.host.replace('%', '%%')}"
    shutdowns: list[str] = []

    def add_shutdown(how: str, **_: object) -> None:
        shutdowns.append(how)

    worker_shutting_down.connect(add_shutdown, weak=False)
    try:
        status = _run(settings, quiet, ["worker", "--hostname", name, "--loglevel", log_level, *extra])
    finally:
        worker_shutting_down.disconnect(add_shutdown)
    return exit_status(status, shutdowns)


def exit_status(status: int, shutdowns: Sequence[str]) -> int:
    """
    Returns 0 if only warm shutdowns ended the worker, otherwise Celery's *status*.

    Celery exits with 1 after SIGINT, even if all tasks have ended. A second SIGINT stops the tasks: a cold shutdown.
    """
    return 0 if shutdowns and set(shutdowns) == {"Warm"} else status


def run_beat(
    settings: Settings, *, log_level: str = "INFO", quiet: bool = False, extra: Sequence[str] = ()
) -> int:
    """Send a sweep every interval until a signal ends it; otherwise as ``run_worker``."""
    return _run(settings, quiet, ["beat", "--loglevel", log_level, *extra])


def _run(settings: Settings, quiet: bool, arguments: list[str]) -> int:
    """As ``app.start(arguments)``, but returns the exit status, which supervisors need."""
    from celery.bin.celery import celery

    app_option = celery.params[0]
    app_option.default = make_app(settings)
    args = ["--quiet", *arguments] if quiet else arguments
    try:
        return int(celery.main(args=args, prog_name="tempfleet", standalone_mode=False) or 0)
    finally:
        app_option.default = None
