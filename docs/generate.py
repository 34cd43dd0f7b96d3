"""
Write docs/reference/ from the code: settings, metrics, console, tasks, library.

    make docs      writes the pages; a test fails if they differ from what this program would write
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

import tempfleet
from tempfleet import Settings
from tempfleet.cli import main as console
from tempfleet.monitoring import metric_names, metrics
from tempfleet.registry.stats import BOUNDS_SECONDS
from tempfleet.settings.settings import variables
from tempfleet_tasks.messages import Clear, Register, RegisterMany, Renew, Unregister, delete_due, sweep

TOP = Path(__file__).parent.parent
REFERENCE = TOP / "docs" / "reference"
SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):\n((?:[ \t].*\n?|\n)+)", re.MULTILINE)
MADE = "<!-- Made by docs/generate.py from the code. -->\n\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    makers: dict[str, Callable[[], Iterator[str]]] = {
        "settings.md": settings, "metrics.md": all_metrics, "cli.md": cli, "tasks.md": tasks, "api.md": api,
    }  # fmt: skip
    return {name: MADE + "\n".join(make()).rstrip() + "\n" for name, make in makers.items()}


def settings() -> Iterator[str]:
    """The text of docs/settings.md.in; the column of allowed values is filled in from the code."""
    allowed = {variable: _allowed(Settings.model_fields[name]) for name, variable in variables().items()}
    for line in (TOP / "docs" / "settings.md.in").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| `([A-Z_]+)` \|", line)
        yield line.replace("{}", allowed[row[1]], 1) if row else line


def _allowed(field: FieldInfo) -> str:
    bounds = " and ".join(_bound(bound) for bound in field.metadata if _bound(bound))
    return ", ".join(part for part in (_kind(field.annotation), bounds) if part)


def _kind(annotation: Any) -> str:
    text = str(annotation)
    kinds = {
        "bool": "yes or no",
        "int": "a whole number",
        "float": "seconds",
        "InUse": "a word",
        "Literal": "a word",
    }
    if "tuple" in text:
        return "directories, `:` between"
    return next((kind for name, kind in kinds.items() if name in text), "text")


def _bound(bound: Any) -> str:
    signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    parts = [f"{words} {getattr(bound, sign):.15g}" for sign, words in signs.items() if hasattr(bound, sign)]
    return " ".join(parts)


def all_metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield (inspect.getdoc(metrics) or "") + "\n"
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for name, (help_, _) in metric_names.COUNTERS.items():
        yield f"| `{name}_total` | counter | host, volume | {help_} |"
    for name, help_ in metric_names.BY_OUTCOME:
        yield f"| `{name}_total` | counter | host, volume, outcome | {help_} |"
    for name, (help_, _read) in metric_names.GAUGES.items():
        yield f"| `{name}` | gauge | host, volume | {help_} |"
    for name, (help_, kept) in metric_names.HISTOGRAMS.items():
        bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_SECONDS[kept])
        yield f"| `{name}` | histogram | host, volume | {help_}. Buckets: {bounds} |"
    for name, (help_, labels) in metric_names.OTHERS.items():
        yield f"| `{name}` | gauge | {', '.join(labels) or '-'} | {help_} |"


def cli() -> Iterator[str]:
    yield "# Console\n"
    yield _plain(console.help or "") + "\n"
    yield "`celery -A proj tempfleet COMMAND` has the same commands, with that app's settings.\n"
    context = click.Context(console, info_name="tempfleet")
    for name in console.list_commands(context):
        command = console.get_command(context, name)
        if command is not None:
            yield from _command(f"tempfleet {name}", command)


def _command(path: str, command: click.Command) -> Iterator[str]:
    arguments = [_metavar(param) for param in command.params if isinstance(param, click.Argument)]
    yield f"## `{' '.join((path, *arguments))}`\n"
    yield _plain(command.help or "") + "\n"
    for param in command.params:
        if isinstance(param, click.Option) and param.name != "json":
            yield f"- `{', '.join(param.opts)}` {param.help or ''}".rstrip()
    yield ""
    if isinstance(command, click.Group):
        for name, member in sorted(command.commands.items()):
            yield from _command(f"{path} {name}", member)


def _metavar(param: click.Argument) -> str:
    return param.metavar or (param.name or "").upper() + ("..." if param.nargs == -1 else "")


def _plain(text: str) -> str:
    """click's help as Markdown; a paragraph after \\b becomes a code block."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```text\n{part.removeprefix(chr(8)).strip(chr(10))}\n```" if part.startswith("\b") else part
        for part in paragraphs
    )


def tasks() -> Iterator[str]:
    yield "# Tasks\n"
    yield "Any Celery app with the same broker sends them by name to the queue `tempfleet` (`TEMP_FILE_NAMESPACE`):\n"
    yield '    kwargs = {"host": "web-1", "ttl": 600}'
    yield '    app.send_task("tempfleet.register", args=[path], kwargs=kwargs, queue="tempfleet", serializer="json")\n'
    yield "`host` is the `TEMP_FILE_HOST` of the host that has the file. A message can be sent again at any time.\n"
    tasks = {message.task: message for message in (Register, RegisterMany, Renew, Unregister, Clear)}
    for name, function in {**tasks, "tempfleet.delete_due": delete_due, "tempfleet.sweep": sweep}.items():
        signature = inspect.signature(function)
        shown = [param for param in signature.parameters.values() if param.name != "runtime"]
        yield f"## `{name}({', '.join(map(str, shown))})`\n"
        yield (inspect.getdoc(function) or "") + "\n"


def api() -> Iterator[str]:
    yield "# Library\n"
    yield "All names of `from tempfleet import ...`.\n"
    for name in sorted(tempfleet.__all__):
        value = getattr(tempfleet, name)
        yield f"## `{name}`\n"
        yield _doc(value) + "\n"
        if inspect.isclass(value) and not issubclass(value, Exception | Settings):
            yield from _members(value)


def _members(cls: type) -> Iterator[str]:
    ours = [base for base in cls.__mro__ if base.__module__.startswith("tempfleet")]
    for name, member in (item for base in ours for item in vars(base).items()):
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not inspect.getdoc(plain):
            continue
        if inspect.isfunction(plain):
            yield f"### `{name}{_signature(plain)}`\n"
        elif isinstance(plain, property):
            yield f"### `{name}`\n"
        else:
            continue
        yield _doc(plain) + "\n"


def _signature(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    shown = [param for param in signature.parameters.values() if param.name not in ("self", "cls")]
    return str(signature.replace(parameters=shown)).replace("'", "")


def _doc(value: object) -> str:
    """A docstring; its indented parts (Args, Raises) become code blocks."""
    text = inspect.getdoc(value) or ""
    return SECTION.sub(r"**\1**\n\n```text\n\2\n```\n", text)


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
