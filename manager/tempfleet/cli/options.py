"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..settings import parse_seconds

F = TypeVar("F", bound=Callable[..., Any])


def seconds(text: str) -> float:
    """The type of every option that takes a duration: ``90``, ``90s``, ``15m``, ``1h30m`` or ``7d``."""
    try:
        return parse_seconds(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} {exc}.") from None


def duration_option(*names: str, metavar: str = "DURATION", **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, type=seconds, metavar=metavar, **attributes)


ttl_option = duration_option("--ttl", help="Time to live, from now. [TEMP_FILE_MAX_AGE]")
tags_option = click.option("--tag", "tags", multiple=True, help="A tag for the files; can be repeated.")
name_option = click.option(
    "--name", help="Name of the hold; by default login@program, such as anna@tempfleet."
)
tag_filter = click.option(
    "--tag", "tags", multiple=True, help="Only files with this tag; repeat it for files with all of the tags."
)
prefix_filter = click.option(
    "--prefix",
    default="",
    metavar="PATH",
    help="Only this path and paths below it; with * at its end, all paths that begin with this text.",
)
