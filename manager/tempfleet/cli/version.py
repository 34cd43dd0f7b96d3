"""``version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from .console import Console, pass_console


@click.command()
@pass_console
def version(console: Console) -> None:
    """
    Show the versions of Tempfleet and its main dependencies.

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


COMMANDS: tuple[click.Command, ...] = (version,)
