"""``hold``, ``unhold``."""

from __future__ import annotations

import shlex

import click

from ..filesystem import normalise
from ..formatting import duration
from ..logs import printable
from .console import Console, pass_console
from .options import duration_option, name_option
from .register import MILLISECOND

NAMES_LISTED = 10
"""The holds that are left after one ended."""


@click.command()
@click.argument("path")
@duration_option("--for", "seconds", help="End of the hold; without it the hold has no end.")
@click.option("--reason", default="", help="Why the file is held; ls and explain show it.")
@name_option
@pass_console
def hold(console: Console, path: str, seconds: float | None, reason: str, name: str | None) -> None:
    """
    Keep a file after its deadline, until the hold ends.

    A file can have several holds, one for each name. It stays until the last one ends. If a name holds a file again,
    the later end counts.

    \b
      tempfleet hold /tmp/core.1234 --for 7d --reason "ticket 117"
      tempfleet hold /tmp/core.1234 --name legal
    """
    manager, path = console.manager, normalise(path)
    end = manager.hold(path, seconds, reason=reason, name=name)
    left = None if end is None else max(end - manager.registry.now_ms() / 1000, 0)
    # Otherwise the same name held the file already, until a later time.
    moved = seconds is None or (left is not None and left <= seconds + MILLISECOND)
    length = seconds if moved else left
    ends = "" if name is None else f" --name {shlex.quote(printable(name))} --force"
    span = f"; tempfleet unhold{ends} ends the hold" if length is None else f" for {duration(length)}"
    kept = "" if moved else ", as before: the later end counts"
    ends_ms = None if end is None else round(end * 1000)
    document = {"path": path, "held_seconds": seconds, "reason": reason, "ends_ms": ends_ms, "moved": moved}
    console.answer(document, f"{printable(path)} is held{span}{kept}.")


@click.command()
@click.argument("path")
@name_option
@click.option("--force", is_flag=True, help="End the hold of another one; the audit log records that.")
@pass_console
def unhold(console: Console, path: str, name: str | None, force: bool) -> int:
    """
    End your hold of a file. After its last hold, the file is due at its own deadline again.

    Exits with 1 if there was no such hold. tempfleet explain shows the names of the holds.

    \b
      tempfleet unhold /tmp/core.1234
      tempfleet unhold /tmp/core.1234 --name legal --force
    """
    manager, path = console.manager, normalise(path)
    was_held = manager.unhold(path, name=name, force=force)
    others = [keeper.name for keeper in manager.registry.keepers(path)]
    if others:
        names = ", ".join(map(printable, others[:NAMES_LISTED])) + (
            " and others" if others[NAMES_LISTED:] else ""
        )
        text = f"{'is' if was_held else 'has no such hold; it is'} still held by {names}"
        text += "" if was_held else " (--name and --force end another one's hold)"
    else:
        text = "is due at its own deadline again" if was_held else "was not held"
    console.answer({"path": path, "lifted": was_held, "held_by": others}, f"{printable(path)} {text}.")
    return 0 if was_held else 1


COMMANDS: tuple[click.Command, ...] = (hold, unhold)
