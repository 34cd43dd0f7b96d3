"""
The command group: the options of every command, commands from plug-ins, and exit statuses.

Each entry point of the group ``tempfleet.commands`` is a group of commands, or a function that returns commands. They
are added to ours. So the console has the command ``worker``, although the library does not import Celery.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from inspect import cleandoc
from typing import Any, NoReturn

import click

from ..errors import (
    EmbeddedServerError,
    InvalidHoldName,
    InvalidOwner,
    InvalidTag,
    InvalidTTL,
    ReasonTooLong,
    RegistryDenied,
    RegistryUnavailable,
    SettingsError,
    TempfleetError,
)
from . import (
    accept_disk,
    adopt,
    cleanup,
    clock,
    compress,
    config,
    dead,
    doctor,
    evict,
    explain,
    exporter,
    health,
    hold,
    hosts,
    ls,
    plugins,
    register,
    restore,
    status,
    upgrade,
    version,
)
from .console import Console

PLUGINS = "tempfleet.commands"

EXIT_NO, WRONG_USE, NO_REDIS, INTERRUPTED = 1, 2, 3, 130

HELP = """
Manage temporary files, on this host and in the whole fleet.

\b
  tempfleet register /tmp/report.pdf --ttl 2h
  tempfleet ls --due-within 10m
  tempfleet cleanup --dry-run
  tempfleet --base-dir /srv/scratch status --json

Write durations as 90, 90s, 15m, 1h30m or 7d. Settings come from TEMP_FILE_* variables, a .env file and a TOML file. The
options below override them; tempfleet config shows them. With --json, before or after the command, the answer is one
JSON document on stdout, and an error is {"error": class, "message": text} on stderr.

\b
Exit status:
  0    success; for health: healthy
  1    not found, nothing to do, or a part failed; for health: degraded
  2    wrong usage or a wrong setting; for health: unhealthy
  3    Redis cannot be reached or refuses access
  130  interrupted; but worker, beat, up, exporter and status --watch
       run until Ctrl-C, and then exit with 0
"""

Plugin = click.Group | Callable[[], click.Group | Sequence[click.Command]]


class CommandGroup(click.Group):
    """Loads plug-ins if a command needs them, and turns each expected error into one sentence and an exit status."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line. Always raises SystemExit."""
        words = list(sys.argv[1:] if args is None else args)
        console = extra["obj"] = Console()
        console.json = "--json" in words  # also for errors of the parser
        extra["standalone_mode"] = False
        code: int | None
        try:
            with _warnings_to(console):
                code = super().main(words, prog_name or "tempfleet", **extra)
        except click.UsageError as exc:
            code = exc.exit_code
            if console.json:
                console.fail(type(exc).__name__, exc.format_message())
            else:
                exc.show()
        except (click.Abort, KeyboardInterrupt):
            code = INTERRUPTED
            console.fail("Interrupted", "interrupted.")
        except (TempfleetError, OSError) as exc:
            code = status_of(exc)
            console.fail(type(exc).__name__, str(exc))
        finally:
            console.close()
        sys.exit(code or 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._load_plugins(ctx)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Importing Celery takes half a second, so load plug-ins only for commands that are not ours.
        if cmd_name not in self.commands:
            self._load_plugins(ctx)
        return super().get_command(ctx, cmd_name)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        _add_json_option(cmd)
        _set_summary(cmd)
        super().add_command(cmd, name)

    def _load_plugins(self, ctx: click.Context) -> None:
        console = ctx.ensure_object(Console)
        for entry in entry_points(group=PLUGINS):
            for command in _commands_of(entry, console):
                if command.name not in self.commands:
                    self.add_command(command)


def _commands_of(entry: EntryPoint, console: Console) -> list[click.Command]:
    try:
        plugin: Plugin = entry.load()
        commands = plugin if isinstance(plugin, click.Group) else plugin()
    except Exception as exc:  # noqa: BLE001 - third-party code; the other commands still work
        console.warn(f"the plug-in {entry.name!r} ({entry.value}) is broken: {exc!r}")
        return []
    return list(commands.commands.values()) if isinstance(commands, click.Group) else list(commands)


def status_of(exc: BaseException) -> int:
    """The exit status for an error."""
    if isinstance(exc, RegistryUnavailable | RegistryDenied | EmbeddedServerError):
        return NO_REDIS
    wrong_use = SettingsError | InvalidHoldName | InvalidOwner | InvalidTag | InvalidTTL | ReasonTooLong
    return WRONG_USE if isinstance(exc, wrong_use) else EXIT_NO


def _add_json_option(command: click.Command) -> None:
    """Add --json to every command, also of plug-ins, so that it works before and after the command."""
    if not any("--json" in param.opts for param in command.params):
        command.params.append(_json_option())
    if isinstance(command, click.Group):
        for member in command.commands.values():
            _add_json_option(member)


def _set_summary(command: click.Command) -> None:
    """Make the summary the whole first sentence of the help; click would cut it and add three dots."""
    if not command.short_help and command.help:
        paragraph = " ".join(cleandoc(command.help).partition("\n\n")[0].split())
        command.short_help = paragraph.partition(". ")[0].removesuffix(".") + "."
    for member in command.commands.values() if isinstance(command, click.Group) else ():
        _set_summary(member)


def _json_option() -> click.Option:
    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        console = ctx.ensure_object(Console)
        console.json = console.json or value

    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Print the answer as one JSON document.",
    )


@contextmanager
def _warnings_to(console: Console) -> Iterator[None]:
    """Print Python's warnings about settings ("did you mean") as warnings of the console."""

    def show(message: Warning | str, *_args: Any, **_kwargs: Any) -> None:
        console.warn(str(message))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="TEMP_FILE_")
        warnings.showwarning = show
        yield


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.invoke(version.version)
        ctx.exit()


@click.command(cls=CommandGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--base-dir", metavar="DIR", help="Base directory. [TEMP_FILE_BASE_DIR]")
@click.option("--host", metavar="NAME", help="Host that has the files. [TEMP_FILE_HOST]")
@click.option(
    "--redis-url", metavar="URL", help="redis://, rediss://, unix:// or embedded://DIR. [TEMP_FILE_REDIS_URL]"
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_obj
def main(console: Console, /, **options: str | None) -> None:
    console.options = options


_add_json_option(main)
MODULES = (
    accept_disk,
    adopt,
    cleanup,
    clock,
    compress,
    config,
    dead,
    doctor,
    evict,
    explain,
    exporter,
    health,
    hold,
    hosts,
    ls,
    plugins,
    register,
    restore,
    status,
    upgrade,
    version,
)
for _command in (command for module in MODULES for command in module.COMMANDS):
    main.add_command(_command)
