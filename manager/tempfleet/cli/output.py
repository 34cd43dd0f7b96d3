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
FOLDED = ("Path", "Host", "Base directory", "Tags", "Reason", "Error", "Finding", "What to do", "State", "")
"""The columns that are folded if the terminal is too narrow. Nothing is ever cut off."""


@dataclass(frozen=True, slots=True)
class Table:
    """
    Columns with a heading each. A cell is printed as it is, never as markup. Numbers are aligned to the right.
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
                no_wrap=name not in FOLDED,
            )
        for row in self.rows:
            table.add_row(*map(as_text, row))
        return table

    def lines(self) -> list[str]:
        """One line per row, never cut or wrapped, for pipes and files."""
        texts = [[name.upper() for name in self.columns]]
        texts += [[as_text(cell).plain for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if self.numeric(number) else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in texts
        ]


def as_text(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(f"{cell:,}" if isinstance(cell, int) else cell)


def text_cell(text: str) -> Text:
    """A path or another name, without characters that a terminal would obey."""
    return Text(printable(text))


def original_path(record: FileRecord) -> str:
    """The path that users know: of a quarantined file the one before, if its disk is on this host."""
    return (origin_of(record.path) if record.is_quarantined else "") or record.path


def path_cell(record: FileRecord) -> Text:
    return text_cell(original_path(record))


def when(record: FileRecord, now_ms: int) -> str:
    """When the file falls due, as a cell of a table; of an ended hold, when the file itself does."""
    if record.state is State.LEASED:
        return "now"
    due_ms = record.expires_ms if record.has_ended_hold(now_ms) else record.due_ms
    if due_ms is None:
        return "never"
    seconds = (due_ms - now_ms) / 1000
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def origin_field(record: FileRecord) -> dict[str, str]:
    """The original path for JSON, in addition to the path in quarantine."""
    return {"original_path": origin_of(record.path)} if record.is_quarantined else {}


def records_document(records: Iterable[FileRecord]) -> list[dict[str, Any]]:
    return [record.as_dict() | origin_field(record) for record in records]
