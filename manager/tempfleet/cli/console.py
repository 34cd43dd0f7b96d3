"""
What commands share: the settings, the manager and the fleet, each built at its first use, and ``answer``. It prints a
JSON document, a table on a terminal, or plain aligned lines.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import click
from rich.console import Console as Terminal
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..embedded import connect_url
from ..errors import PathError, RegistryError, SettingsError, VolumeUnavailable
from ..filesystem import bounded_at, resolved_if_possible
from ..logs import configure, logger, printable
from ..manager import TempFileManager
from ..registry import Fleet, Registry, Store, Volume, connect
from ..settings import Settings
from .output import Table

T = TypeVar("T")


Answer = tuple[Any, str | Table]
"""A command's answer, for programs and for people."""


class Console:
    """One run of ``tempfleet``."""

    def __init__(self) -> None:
        self.json = False
        self.options: dict[str, str | None] = {}
        self._end_log: Callable[[], None] | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings from the environment; options of the command line override them."""
        return Settings.load(**self.options)

    @cached_property
    def manager(self) -> TempFileManager:
        self._start_logging()
        try:
            return TempFileManager(settings=self.settings.of_a_tool())
        except OSError as exc:
            variable = self.settings.variable_of("base_dir")
            raise SettingsError(
                f"{variable}={self.settings.base_dir!r} cannot be used: {exc.strerror}.",
                variable=variable,
                value=self.settings.base_dir,
            ) from exc

    @property
    def existing(self) -> TempFileManager:
        """
        The manager, for commands that only read: it does not create a missing base directory.

        Raises:
            VolumeUnavailable: the base directory is missing, is not a directory, or does not answer.
        """
        path = self.settings.base_dir
        is_there, is_directory = bounded_at(path).ask(lambda: (os.path.exists(path), os.path.isdir(path)))
        if is_there and not is_directory:
            raise VolumeUnavailable(
                f"{printable(path)} is not a directory: TEMP_FILE_BASE_DIR (--base-dir) names a file.",
                base_dir=path,
                reason="ENOTDIR",
            )
        if not is_there:
            raise VolumeUnavailable(
                f"{printable(path)} is not there: nothing was registered here yet, its disk is not mounted, or "
                "TEMP_FILE_BASE_DIR (--base-dir) names another directory.",
                base_dir=path,
                reason="ENOENT",
            )
        return self.manager

    @property
    def registry(self) -> Registry:
        """The registry of the base directory, for commands that only read it; the directory may be missing."""
        return self.fleet.registry(Volume(self.settings.host, resolved_if_possible(self.settings.base_dir)))

    @cached_property
    def fleet(self) -> Fleet:
        """All hosts and volumes; needs no base directory."""
        self._start_logging()
        url, timeout = connect_url(self.settings.redis_url), self.settings.redis_timeout_seconds
        store = Store(connect(url, timeout_seconds=timeout), namespace=self.settings.namespace)
        return Fleet(store, live_seconds=self.settings.host_live_seconds)

    @property
    def out(self) -> Terminal:
        return Terminal(file=sys.stdout, highlight=False, markup=False)

    @property
    def is_rich(self) -> bool:
        """Whether stdout is a terminal that shows colours and boxes."""
        out = self.out
        return out.is_terminal and not out.no_color and not self.json

    def answer(self, document: Any, *views: str | Table) -> None:
        """Print the answer: *document* for programs, or *views* for people."""
        if self.json:
            click.echo(json.dumps(document))
            return
        for view in views:
            if isinstance(view, str):
                click.echo(view)
            elif self.is_rich:
                self.out.print(view.on_terminal())
            else:
                click.echo("\n".join(view.lines()))

    def keep_answering(self, read: Callable[[], Answer], *, every_seconds: float) -> None:
        """
        Print what *read* returns, again and again, until Ctrl-C: in place if the terminal can, else one below the
        other. If Redis is away, the error is printed and reading goes on.
        """

        def answer_or_error() -> Answer:
            try:
                return read()
            except RegistryError as exc:
                return {"error": type(exc).__name__, "message": str(exc)}, str(exc)

        in_place = self.out.is_terminal and not self.out.is_dumb_terminal and not self.json
        try:
            if not in_place:
                while True:
                    self.answer(*answer_or_error())
                    sys.stdout.flush()
                    time.sleep(every_seconds)
            with Live(console=self.out, auto_refresh=False) as live:
                while True:
                    _, view = answer_or_error()
                    live.update(view if isinstance(view, str) else view.on_terminal(), refresh=True)
                    time.sleep(every_seconds)
        except KeyboardInterrupt:
            return

    def with_progress(self, label: str, items: Iterable[T], total: int) -> Iterator[T]:
        """*items*, with a bar that moves as they are taken."""
        with self.progress(label, total) as show_done:
            for number, item in enumerate(items, 1):
                yield item
                show_done(number)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """
        A bar on a terminal, nothing elsewhere. Call the yielded function with the number of finished items. Without a
        *total* only that number is shown.
        """
        if not self.is_rich:
            yield lambda done: None
            return
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.out, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)

    def warn(self, message: str) -> None:
        """Print a warning, which does not stop the command, on stderr."""
        click.echo(
            json.dumps({"warning": message}) if self.json else f"tempfleet: warning: {message}", err=True
        )

    def fail(self, kind: str, message: str) -> None:
        """Print an error, one sentence, on stderr; *kind* is its class, for programs."""
        click.echo(
            json.dumps({"error": kind, "message": message}) if self.json else f"tempfleet: {message}",
            err=True,
        )

    def answer_with_errors(
        self, document: dict[str, Any], errors: Sequence[tuple[str, Exception]], *views: str | Table
    ) -> int:
        """Print the answer, and an error for each path that failed. Returns the exit status: 1 if one failed."""
        failures = [
            {"path": path, "error": type(error).__name__, "message": str(error)} for path, error in errors
        ]
        self.answer({**document, "errors": failures}, *views)
        for path, error in () if self.json else errors:
            has_path = isinstance(error, PathError | RegistryError)
            self.fail(type(error).__name__, str(error) if has_path else f"{printable(path)}: {error}")
        return 1 if errors else 0

    def _start_logging(self) -> None:
        if self._end_log is None:
            settings = self.settings
            self._end_log = configure(
                level=settings.log_level, form=settings.log_format, file=settings.log_file
            )
        if not any(isinstance(handler, ToStderr) for handler in logger.handlers):
            logger.addHandler(ToStderr(self))

    def close(self) -> None:
        if self._end_log is not None:
            self._end_log()
        for handler in list(logger.handlers):
            if isinstance(handler, ToStderr):
                logger.removeHandler(handler)
        if "manager" in vars(self):
            self.manager.close()
        if "fleet" in vars(self):
            self.fleet.store.client.close()


class ToStderr(logging.Handler):
    """Prints the library's warnings as warnings of the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.warn(record.getMessage())


pass_console = click.make_pass_decorator(Console, ensure=True)
