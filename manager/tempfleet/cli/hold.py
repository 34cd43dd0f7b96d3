"""``hold``, ``unhold``."""

from __future__ import annotations

import click

from ..filesystem import normalise
from ..formatting import duration
from ..logs import printable
from .console import Console, pass_console
from .options import duration_option


@click.command()
@click.argument("path")
@duration_option("--for", "seconds", help="End of the hold; without it the hold has no end.")
@click.option("--reason", default="", help="Why the file is held; ls and explain show it.")
@pass_console
def hold(console: Console, path: str, seconds: float | None, reason: str) -> None:
    """
    Keep a file after its deadline, until the hold ends.

    \b
      tempfleet hold /tmp/core.1234 --for 7d --reason "crash of Tuesday, ticket 117"
    """
    path = normalise(path)
    console.manager.hold(path, seconds, reason=reason)
    span = "; tempfleet unhold ends the hold" if seconds is None else f" for {duration(seconds)}"
    document = {"path": path, "held_seconds": seconds, "reason": reason}
    console.answer(document, f"{printable(path)} is held{span}.")


@click.command()
@click.argument("path")
@pass_console
def unhold(console: Console, path: str) -> int:
    """
    End a hold: the file is due at its own deadline again.

    Exits with 1 if the file was not held.

    \b
      tempfleet unhold /tmp/core.1234
    """
    path = normalise(path)
    was_held = console.manager.unhold(path)
    text = "is due at its own deadline again" if was_held else "was not held"
    console.answer({"path": path, "lifted": was_held}, f"{printable(path)} {text}.")
    return 0 if was_held else 1


COMMANDS: tuple[click.Command, ...] = (hold, unhold)
