"""How the console prints: tables, cells and documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from ..deletion import origin_of
from ..formatting import duration
from ..logs import printable
from ..records import FileRecord, State

Cell = str | int | Text
LONG = ("Path", "Base directory", "Tags", "Reason", "Error", "What is so", "What to do", "State", "")
"""The columns that are folded where a terminal is too narrow; nothing is ever cut off."""


@dataclass(frozen=True, slots=True)
class Table:
    """
    Rows under a heading each. A cell is shown as it is: nothing in it is markup. Numbers stand to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""

    def numeric(self, column: int) -> bool:
        return bool(self.rows) and all(isinstance(row[column], int) for row in self.rows)

    def on_terminal(self) -> TerminalTable:
        table = TerminalTable(
            box=box.SIMPLE_HEAD, title=self.title or None, title_justify="left", header_style="bold"
        )
        for number, name in enumerate(self.columns):
            table.add_column(
                name,
                justify="right" if self.numeric(number) else "left",
                overflow="fold",
                no_wrap=name not in LONG,
            )
        for row in self.rows:
            table.add_row(*map(as_text, row))
        return table

    def lines(self) -> list[str]:
        """One line a row, never cut and never wrapped, for pipes and files."""
        shown = [[name.upper() for name in self.columns]]
        shown += [[as_text(cell).plain for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if self.numeric(number) else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in shown
        ]


def as_text(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(f"{cell:,}" if isinstance(cell, int) else cell)


def name(path: str) -> Text:
    """A file's name, harmless on a terminal."""
    return Text(printable(path))


def known_path(record: FileRecord) -> str:
    """The path that people know its file by: in quarantine, where its disk is here, the one that it had before."""
    return (origin_of(record.path) if record.is_quarantined else "") or record.path


def known_name(record: FileRecord) -> Text:
    return name(known_path(record))


def when(record: FileRecord, now_ms: int) -> str:
    """When the file falls due, as a cell of a table."""
    if record.state is State.LEASED:
        return "now"
    if record.due_ms is None:
        return "never"
    seconds = (record.due_ms - now_ms) / 1000
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def origin(record: FileRecord) -> dict[str, str]:
    """The same for programs, beside the path that it has."""
    return {"original_path": origin_of(record.path)} if record.is_quarantined else {}


def records_document(records: Iterable[FileRecord]) -> list[dict[str, Any]]:
    return [record.as_dict() | origin(record) for record in records]
