"""The output of the demo: a live view on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import click
from rich import box
from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tempfleet import VolumeStats

STATE_STYLES = {"starting": "yellow", "live": "green", "killed": "bold red", "restarting": "yellow"}


class Show(Protocol):
    """What the play reports."""

    def step(self, text: str) -> None:
        """The next step begins."""

    def state(self, host: str, state: str) -> None:
        """The new state of a host's worker: starting, live, killed or restarting."""

    def counts(self, stats: Mapping[str, VolumeStats]) -> None:
        """The newest counts of some hosts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """Prints one line per step, and the counts once a second."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.began = time.monotonic()
        self.to_stderr = to_stderr
        self.stats: dict[str, VolumeStats] = {}
        self.printed_at = 0.0
        self.printed = ""

    def step(self, text: str) -> None:
        self._print(text)

    def state(self, host: str, state: str) -> None:
        self._print(f"{host}: worker {state}")

    def counts(self, stats: Mapping[str, VolumeStats]) -> None:
        self.stats.update(stats)
        now = time.monotonic()
        if now - self.printed_at < 1 or not any(counts.total("registered") for counts in self.stats.values()):
            return
        self.printed_at = now
        line = "; ".join(
            f"{host}: {counts.total('registered'):,} registered, {counts.active:,} left, "
            f"{counts.total('deleted'):,} deleted"
            for host, counts in sorted(self.stats.items())
        )
        if line != self.printed:
            self.printed = line
            self._print(f"  {line}")

    def _print(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self.began:5.1f} s  {text}", err=self.to_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveView:
    """Shows the steps so far and the counts of each host, eight times a second."""

    def __init__(self, terminal: Terminal) -> None:
        self.began = time.monotonic()
        self.steps: list[tuple[float, str]] = []
        self.stats: dict[str, VolumeStats] = {}
        self.states: dict[str, str] = {}
        self.spinner = Spinner("dots", style="cyan")
        self.live = Live(console=terminal, refresh_per_second=8, get_renderable=self._view, transient=False)

    def step(self, text: str) -> None:
        self.steps.append((time.monotonic() - self.began, text))

    def state(self, host: str, state: str) -> None:
        self.states[host] = state

    def counts(self, stats: Mapping[str, VolumeStats]) -> None:
        self.stats.update(stats)

    def _view(self) -> RenderableType:
        return Group(self._steps(), self._hosts())

    def _steps(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        for number, (at, text) in enumerate(self.steps, 1):
            is_last = number == len(self.steps) and self.live.is_started
            mark: RenderableType = self.spinner if is_last else Text("✓", "green")
            style = "bold red" if "kill -9" in text else ""
            grid.add_row(mark, Text(f"{at:4.1f} s", "dim"), Text(text, style))
        return grid

    def _hosts(self) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        table.add_column("Host")
        table.add_column("Worker")
        for heading in ("Registered", "Waiting", "Leased", "Recovered", "Deleted"):
            table.add_column(heading, justify="right", min_width=len(heading))
        table.add_column("", width=24)
        for host, stats in sorted(self.stats.items()):
            state = self.states.get(host, "live")
            registered, recovered, deleted = map(stats.total, ("registered", "recovered", "deleted"))
            numbers = (registered, stats.waiting, stats.leased, recovered, deleted)
            bar = ProgressBar(total=max(registered, 1), completed=registered - stats.active, width=24)
            table.add_row(host, Text(state, STATE_STYLES[state]), *(f"{n:,}" for n in numbers), bar)
        return table

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
