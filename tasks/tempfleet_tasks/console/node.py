"""A worker or a beat of our own app, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from tempfleet import Settings

from ..app import make_app


def run_worker(
    settings: Settings, *, log_level: str = "INFO", quiet: bool = False, extra: Sequence[str] = ()
) -> int:
    """
    Serve the settings' host until told to end; Celery's exit status.

    Args:
        quiet: without Celery's banner.
        extra: Celery's own options.
    """
    name = f"tempfleet@{settings.host.replace('%', '%%')}"
    return _run(settings, quiet, ["worker", "--hostname", name, "--loglevel", log_level, *extra])


def run_beat(
    settings: Settings, *, log_level: str = "INFO", quiet: bool = False, extra: Sequence[str] = ()
) -> int:
    """Send a sweep every interval until told to end; otherwise as ``run_worker``."""
    return _run(settings, quiet, ["beat", "--loglevel", log_level, *extra])


def _run(settings: Settings, quiet: bool, arguments: list[str]) -> int:
    """What ``app.start(arguments)`` does, which loses the exit status that supervisors wait for."""
    from celery.bin.celery import celery

    app_option = celery.params[0]
    app_option.default = make_app(settings)
    given = ["--quiet", *arguments] if quiet else arguments
    try:
        return int(celery.main(args=given, prog_name="tempfleet", standalone_mode=False) or 0)
    finally:
        app_option.default = None
