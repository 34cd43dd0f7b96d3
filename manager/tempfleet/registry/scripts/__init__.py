"""
The Lua scripts: one file for each atomic move. A script's header is its signature.

Callers name keys and arguments. The loader reads from the header which slot each name has, so that header, body and
caller cannot differ: a name that is not in the header cannot be sent, and tests compare the header with the body.

A script is put together once, when it is loaded: its header, one ``local`` for each slot, the shared parts that its
header names under ``Uses`` (lib/*.lua), and its body. Arguments after the named ones stay in ARGV: ARGV[FIRST] is the
first of them, MORE their number (a table of them would cost 1 us a call). The text depends on the files only and no
call changes it, so Redis compiles it once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SLOT = re.compile(r"^  (KEYS|ARGV)\[(\d+)(\+?)\]\s+(\w+)", re.MULTILINE)
_USES = re.compile(r"^  Uses +(.+)$", re.MULTILINE)

Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text, the names of its slots in order, and the shared parts in its text."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    takes_more: bool
    uses: tuple[str, ...]

    def arguments(self, named: Mapping[str, Argument], more: Sequence[Argument]) -> list[Argument]:
        """
        ARGV in slot order.

        Raises:
            TypeError: *named* is not exactly what the header lists, or the script takes no *more*.
        """
        if set(named) != set(self.args) or (more and not self.takes_more):
            raise TypeError(f"{self.name}.lua takes {self.args}, not {tuple(named)} and {len(more)} more")
        return [*(named[name] for name in self.args), *more]


@cache
def load(name: str) -> Script:
    header, body = source(name)
    slots = _SLOT.findall(header)
    keys = tuple(slot for kind, _, _, slot in slots if kind == "KEYS")
    args = tuple(slot for kind, _, more, slot in slots if kind == "ARGV" and not more)
    takes_more = any(more for _, _, more, _ in slots)
    uses = tuple(line[1].split(", ")) if (line := _USES.search(header)) else ()
    parts = ["".join(source(f"lib/{part}")) for part in uses]
    text = "".join((header, _locals(keys, args, takes_more), *parts, body))
    return Script(
        name=name,
        text=text,
        sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        keys=keys,
        args=args,
        takes_more=takes_more,
        uses=uses,
    )


def _locals(keys: Sequence[str], args: Sequence[str], takes_more: bool) -> str:
    """Lua that gives each slot its name."""
    lines = [f"local {name} = KEYS[{n}]\n" for n, name in enumerate(keys, 1)]
    lines += [f"local {name} = ARGV[{n}]\n" for n, name in enumerate(args, 1)]
    if takes_more:
        lines.append(f"local FIRST, MORE = {len(args) + 1}, #ARGV - {len(args)}\n")
    return "".join(lines)


def source(name: str) -> tuple[str, str]:
    """The header and the body of *name*.lua; a shared part is named ``lib/<part>``."""
    text = resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    header, end, body = text.partition("]]\n")
    return header + end, body


def names(folder: str = "") -> list[str]:
    """The scripts, or the shared parts in the *folder* ``lib``."""
    files = resources.files(__package__).joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".lua") for file in files if file.name.endswith(".lua"))
