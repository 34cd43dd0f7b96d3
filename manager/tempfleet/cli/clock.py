"""``clock``."""

from __future__ import annotations

import click

from ..formatting import duration
from .console import Console, pass_console


@click.group()
def clock() -> None:
    """Manage jumps of Redis's clock."""


@clock.command("accept")
@pass_console
def accept(console: Console) -> None:
    """
    Accept the current clock of Redis, although it jumped ahead.

    Since the jump, all deadlines pass later by it, so that no file is deleted early. Run this if the clock is right
    now. Then deadlines pass at once, in all volumes of this Redis. If the clock is wrong, correct it instead; the delay
    ends by itself.

    \b
      tempfleet clock accept
    """
    seconds = console.manager.accept_clock()
    text = f"Accepted Redis's clock. Deadlines passed {duration(seconds)} later until now."
    console.answer({"accepted_seconds": seconds}, text if seconds else "Redis's clock has no jump to accept.")


COMMANDS: tuple[click.Command, ...] = (clock,)
