"""
The files of the fault matrix: what is done with each of them, and what was promised for it.

A promise counts only if Tempfleet said yes. It is kept if the file has its name, with all of its content, until then. A
file may leave its name for a moment, because a directory above it is moved and given back. So a file that is not there
is only suspect until the end, and only counts as early if it never came back.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from support import wait_until
from tempfleet import TempFileManager, TempfleetError
from tempfleet.errors import RegistryUnavailable

T = TypeVar("T")
RENAME_EXCHANGE = 2
TICK = 0.02
"""Seconds by which a file's times may be off: the kernel's clock has ticks."""

KINDS = (
    "plain",
    "renewed",
    "held",
    "kept",
    "rewritten",
    "of_two",
    "in_a_block",
    "nested",
    "created",
    "swapped",
)

Later = Callable[[float, Callable[[], None]], None]
"""Does something after so many seconds."""


@dataclass
class Volume:
    """A base directory, and two programs that register files in it."""

    base: Path
    first: TempFileManager
    second: TempFileManager
    new_manager: Callable[[], TempFileManager]


@dataclass
class File:
    """
    One file.

    Attributes:
        content: unique, so that the file is recognised wherever it is.
        until: when the last promise for it ends (seconds since 1970).
        stays: it must still be there at the end.
        missed_at: when it was first not under its name.
        is_managed: it must be gone at the end, unless it stays.
    """

    path: Path
    content: str
    until: float = 0.0
    stays: bool = False
    missed_at: float | None = None
    damaged: bool = False
    is_managed: bool = True
    notes: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.notes.append(f"{time.time():.3f} {what}")

    def __str__(self) -> str:
        return f"{self.path} (until {self.until:.3f}, missed at {self.missed_at}): {'; '.join(self.notes)}"

    def look(self) -> None:
        now = time.time()
        try:
            content = self.path.read_text()
        except (FileNotFoundError, NotADirectoryError):
            if self.missed_at is None:
                self.missed_at = now
            return
        if now < self.until and content != self.content:
            # The file may be another one since, but then its promise was over when it was read.
            self.damaged = self.damaged or time.time() < self.until
        self.missed_at = None

    @property
    def is_early(self) -> bool:
        return self.missed_at is not None and self.missed_at < self.until - TICK

    def promise(self, until: float | None) -> None:
        if until is not None:
            self.until = max(self.until, until)
            self.note(f"until {self.until:.3f}")


def sure(call: Callable[[], T], file: File | None = None) -> T | None:
    """Calls until Redis answers. Returns None if the answer is no, and notes the answer with *file*."""

    def attempt() -> tuple[T | None]:
        while True:
            try:
                return (call(),)
            except RegistryUnavailable as exc:
                time.sleep(0.02)
                error: Exception = exc
            except (TempfleetError, OSError) as exc:
                error = exc
            if file is not None:
                file.note(f"{type(error).__name__} {error}")
            if not isinstance(error, RegistryUnavailable):
                return (None,)

    return wait_until(attempt)[0]


@dataclass
class Plan:
    """Makes files of every kind in one volume, and does later what belongs to them."""

    volume: Volume
    rng: random.Random
    later: Later
    kinds: Sequence[str]
    files: list[File] = field(default_factory=list)
    precious: list[File] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)
    held_for_ever: list[File] = field(default_factory=list)
    number: int = 0

    def make(self) -> None:
        """Make a file of a random kind."""
        kind = self.rng.choice(self.kinds)
        getattr(self, kind)()
        self.made[kind] = self.made.get(kind, 0) + 1

    def plain(self) -> None:
        self._registered(self.rng.uniform(0.2, 2))

    def renewed(self) -> None:
        file = self._registered(self.rng.uniform(0.5, 2))
        for _ in range(self.rng.randint(1, 3)):
            self.later(self.rng.uniform(0, 2), lambda: self._renew(file))

    def held(self) -> None:
        file = self._registered(self.rng.uniform(0.3, 2))
        self.later(self.rng.uniform(0, 2), lambda: self._hold(file, self.rng.uniform(0.5, 2)))

    def kept(self) -> None:
        file = self._registered(self.rng.uniform(0.3, 2))
        self.later(self.rng.uniform(0, 2), lambda: self._hold(file, None))

    def rewritten(self) -> None:
        """Rewritten before its deadline; then a clean-up cannot have begun to delete it."""
        ttl = self.rng.uniform(1, 2)
        file = self._registered(ttl)
        for _ in range(self.rng.randint(1, 3)):
            self.later(self.rng.uniform(0, 0.6), lambda: self._rewrite(file, ttl))

    def of_two(self) -> None:
        """Registered by two programs: the later promise wins."""
        file = self._registered(self.rng.uniform(0.2, 2))
        ttl = self.rng.uniform(0.2, 3)
        self.later(self.rng.uniform(0, 1), lambda: self._register(self.volume.second, file, ttl))

    def in_a_block(self) -> None:
        """Registered in a ``with`` block, some of them by another program too. The block's end leaves those alone."""
        manager = self.volume.new_manager()
        manager.__enter__()
        for file in [self._new() for _ in range(4)]:
            own = sure(partial(manager.register, file.path, ttl=self.rng.uniform(0.5, 2)))
            if own is not None and self.rng.random() < 0.5:
                self._register(self.volume.second, file, self.rng.uniform(0.5, 3))
                file.promise(own.deadline_ms / 1000 if file.until else None)
        sure(partial(manager.__exit__, None, None, None))
        manager.close()

    def nested(self) -> None:
        """A directory that is due before what is in it."""
        directory = self.volume.base / f"dir{self._next()}"
        (directory / "sub").mkdir(parents=True)
        inner = [self._new(directory / "sub"), self._new(directory)]
        self._new(directory)
        self._register(self.volume.second, inner[0], self.rng.uniform(0.5, 3))
        if self.rng.random() < 0.5:
            self._register(self.volume.first, inner[1], self.rng.uniform(0.2, 1))
            self._hold(inner[1], self.rng.uniform(1, 3))
        ttl = self.rng.uniform(0.2, 1)
        sure(lambda: self.volume.first.register(directory, ttl=ttl, directory=True))

    def created(self) -> None:
        made = sure(lambda: self.volume.first.create(ttl=self.rng.uniform(0.3, 2)))
        if made is None:
            return
        file = File(Path(made.path), f"created {self._next()}")
        file.promise(made.record.deadline_ms / 1000)
        with made.file as opened:
            opened.write(file.content.encode())
        self.files.append(file)
        if self.rng.random() < 0.5:
            self.later(self.rng.uniform(0, 1), lambda: self._renew(file))

    def swapped(self) -> None:
        """Its name is exchanged with that of a precious file, and back."""
        file, precious = self._registered(self.rng.uniform(0.2, 1)), self.rng.choice(self.precious)
        # While it has another name a clean-up may forget it, as if another file had taken its name.
        file.until, file.is_managed = 0, False
        for _ in range(4):
            self.later(self.rng.uniform(0, 2), lambda: self._swap(file, precious))

    # -- inside

    def add_precious(self, count: int) -> None:
        """Files that were there before everything else. Nobody registers them, so nobody may delete them."""
        for _ in range(count):
            file = self._new()
            file.stays = True
            self.files.remove(file)
            self.precious.append(file)

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _new(self, directory: Path | None = None) -> File:
        n = self._next()
        file = File((directory or self.volume.base) / f"file{n}", f"{n} " * 50)
        file.path.write_text(file.content)
        self.files.append(file)
        return file

    def _registered(self, ttl: float) -> File:
        file = self._new()
        self._register(self.volume.first, file, ttl)
        return file

    def _register(self, manager: TempFileManager, file: File, ttl: float) -> None:
        record = None if file.stays else sure(lambda: manager.register(file.path, ttl=ttl), file)
        file.promise(None if record is None else record.deadline_ms / 1000)

    def _renew(self, file: File) -> None:
        file.promise(sure(lambda: self.volume.first.renew(file.path, ttl=self.rng.uniform(0.2, 2)), file))

    def _hold(self, file: File, seconds: float | None) -> None:
        began = time.time()

        def hold() -> bool:
            self.volume.first.hold(file.path, seconds)
            return True

        if sure(hold, file):
            file.promise(math.inf if seconds is None else began + seconds)
            if seconds is None:
                self.held_for_ever.append(file)

    def _rewrite(self, file: File, ttl: float) -> None:
        if file.stays or time.time() > file.until - 0.2:
            return
        n = self._next()
        part = file.path.with_name(f"part{n}")
        content = f"{n} " * 50
        part.write_text(content)
        file.content = content
        os.replace(part, file.path)
        file.promise(file.path.stat().st_ctime + ttl - TICK)

    def _swap(self, file: File, precious: File) -> None:
        try:
            exchange(file.path, precious.path)
        except OSError:
            return
        time.sleep(self.rng.uniform(0, 0.002))
        try:
            exchange(file.path, precious.path)
        except OSError:
            pass


def exchange(path: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(path), -100, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def restore_some(plan: Plan, rng: random.Random) -> int:
    """Restores a file from the quarantine. Returns 1 if it is the user's from now on."""
    # A file in a directory that is due would go with it.
    by_path = {
        str(file.path): file
        for file in plan.files
        if file.missed_at is not None and not file.is_early and file.path.parent == plan.volume.base
    }
    quarantined = sure(lambda: [aside for aside in plan.volume.first.quarantined() if aside.path in by_path])
    if not quarantined:
        return 0
    aside = rng.choice(quarantined)

    def restore() -> bool:
        plan.volume.first.restore(aside.path)
        return True

    file = by_path[aside.path]
    if sure(restore, file):
        file.note("restored")
        file.until, file.stays, file.missed_at = math.inf, True, None
        return 1
    return 0
