"""
The Lua scripts, one file an atomic move. A script's header is its signature.

Callers name keys and arguments; which slot they go to is read from the header, once, so header, body and
caller cannot drift apart: a slot that the header does not have cannot be sent, and a test holds the header to
the body. No text is ever built at run time: each file is sent as it stands, so Redis caches it once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SLOT = re.compile(r"^  (KEYS|ARGV)\[(\d+)(\+?)\]\s+(\w+)", re.MULTILINE)

Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text and the names of its slots, in order."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    takes_more: bool

    def arguments(self, named: Mapping[str, Argument], more: Sequence[Argument]) -> list[Argument]:
        """
        ARGV in slot order.

        Raises:
            TypeError: *named* is not exactly what the header lists, or *more* has no place in it.
        """
        if set(named) != set(self.args) or (more and not self.takes_more):
            raise TypeError(f"{self.name}.lua takes {self.args}, not {tuple(named)} and {len(more)} more")
        return [*(named[name] for name in self.args), *more]


@cache
def load(name: str) -> Script:
    text = resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    header = text[: text.index("]]")]
    slots = _SLOT.findall(header)
    return Script(
        name=name,
        text=text,
        sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        keys=tuple(slot for kind, _, _, slot in slots if kind == "KEYS"),
        args=tuple(slot for kind, _, more, slot in slots if kind == "ARGV" and not more),
        takes_more=any(more for kind, _, more, _ in slots if kind == "ARGV"),
    )


def names() -> list[str]:
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".lua") for file in files if file.name.endswith(".lua"))
