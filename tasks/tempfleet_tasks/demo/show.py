"""How the demo is shown: a live view on a terminal, and plain lines wherever else."""

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
    """What the play tells its audience."""

    def step(self, text: str) -> None:
        """The next thing that happens."""

    def state(self, host: str, state: str) -> None:
        """What a host's worker is now: starting, live, killed, restarting."""

    def counts(self, stats: Mapping[str, VolumeStats]) -> None:
        """The newest counts of some hosts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """One line a step, and the counts once a second."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.began = time.monotonic()
        self.to_stderr = to_stderr
        self.stats: dict[str, VolumeStats] = {}
        self.said_at = 0.0
        self.said = ""

    def step(self, text: str) -> None:
        self._say(text)

    def state(self, host: str, state: str) -> None:
        self._say(f"{host}: worker {state}")

    def counts(self, stats: Mapping[str, VolumeStats]) -> None:
        self.stats.update(stats)
        now = time.monotonic()
        if now - self.said_at < 1 or not any(each.total("registered") for each in self.stats.values()):
            return
        self.said_at = now
        told = [
            f"{host}: {each.total('registered'):,} registered, {each.active:,} left, "
            f"{each.total('deleted'):,} deleted"
            for host, each in sorted(self.stats.items())
        ]
        if (line := "; ".join(told)) != self.said:
            self.said = line
            self._say(f"  {line}")

    def _say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self.began:5.1f} s  {text}", err=self.to_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveView:
    """The steps so far, what each host has and had, drawn anew eight times a second."""

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
            loud = "kill -9" in text
            grid.add_row(mark, Text(f"{at:4.1f} s", "dim"), Text(text, "bold red" if loud else ""))
        return grid

    def _hosts(self) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        table.add_column("Host")
        table.add_column("Worker")
        for heading in ("Registered", "Waiting", "Leased", "Recovered", "Deleted"):
            table.add_column(heading, justify="right", min_width=len(heading))
        table.add_column("", width=24)
        for host, each in sorted(self.stats.items()):
            state = self.states.get(host, "live")
            registered = each.total("registered")
            gone = registered - each.active
            table.add_row(
                host,
                Text(state, STATE_STYLES[state]),
                *(
                    f"{n:,}"
                    for n in (
                        registered,
                        each.waiting,
                        each.leased,
                        each.total("recovered"),
                        each.total("deleted"),
                    )
                ),
                ProgressBar(total=max(registered, 1), completed=gone, width=24),
            )
        return table

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
