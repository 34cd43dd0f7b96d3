"""``explain``."""

from __future__ import annotations

import click

from .console import Console, pass_console


@click.command()
@click.argument("path")
@pass_console
def explain(console: Console, path: str) -> int:
    """
    Show what would happen to a path, when and why.

    Exits with 1 if the path is neither registered nor in quarantine.

    \b
      tempfleet explain /tmp/report.pdf
    """
    explanation = console.existing.explain(path)
    console.answer(explanation.as_dict(), *explanation.sentences())
    return 0 if explanation.record is not None or explanation.aside else 1


COMMANDS: tuple[click.Command, ...] = (explain,)
