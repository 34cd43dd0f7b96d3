"""
The directories below which files may be deleted. They are resolved once and kept open.

A person names a root in the settings, so its path is trusted once, at start. Everything below it may be controlled by
strangers. The open descriptor stays the directory that was checked, whatever is renamed or mounted later. ``check``
reports if the path leads to another directory now.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ..errors import ManagerClosed, UnsafePath, VolumeUnavailable
from ..logs import logger, printable
from ..settings import Settings
from .bounded import ANSWER_SECONDS, LOOK_SECONDS, NOT_ANSWERING, Pending, bounded_at
from .elsewhere import NOTHING_ELSEWHERE
from .paths import WHY, unsafe
from .root import Root, Unavailable, close_if_open, open_base, open_other
from .syscalls import System
from .users import Shared

T = TypeVar("T")


class Roots(Shared):
    """
    The roots of one volume: its base directory and the other directories that the settings allow.

    Usable after a fork, and by several threads. ``close`` may be called twice, and while other threads use the roots:
    the descriptors are closed when the last user has left (see ``use``).

    Attributes:
        unavailable: path -> reason, of the allowed roots that this host does not have. This is not an error: their
            records wait.
        elsewhere: what the registry knows of the disks of its roots; see reconciliation/root_disks.py.
    """

    def __init__(self, base: Root, settings: Settings, system: System) -> None:
        super().__init__()
        self.base = base
        self.unavailable: dict[str, str] = {}
        self.elsewhere = NOTHING_ELSEWHERE
        self.settings = settings
        self.system = system
        self._all: list[Root] = []
        self._never: frozenset[str] = frozenset()
        self._add(base)

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        base_dir: str | None = None,
        create: bool = True,
        system: System | None = None,
    ) -> Roots:
        """
        Check and open the base directory and the allowed roots.

        Args:
            base_dir: replaces the one of the settings.
            create: create a missing base directory (0700), with its parents.

        Raises:
            SettingsError: a directory that may not be a root; the message contains the reason.
            VolumeUnavailable: the base directory is missing, and *create* is False.
            OSError: the base directory could not be created or opened.
        """
        system = system or System()
        path = str(Path(base_dir or settings.base_dir).absolute())
        calls = bounded_at(path)
        work = partial(open_base, system, path, settings, create=create)
        base = calls.finish(calls.begin(work, Root.close), ANSWER_SECONDS)
        roots = cls(base, settings, system)
        try:
            roots._open_others([path for path in settings.roots if path != settings.base_dir])
        except BaseException:
            roots.close()
            raise
        for missing, reason in roots.unavailable.items():
            if reason != NOT_ANSWERING:
                logger.warning("root %s is not available: %s", printable(missing), reason)
        return roots

    def take_up(self) -> None:
        """Open the allowed roots that did not answer when they were to be opened, if they answer now."""
        waiting = [path for path, reason in self.unavailable.items() if reason == NOT_ANSWERING]
        self._open_others([path for path in waiting if not bounded_at(path).hangs()])

    def _open_others(self, paths: Iterable[str]) -> None:
        for path in paths:
            calls, opened = bounded_at(path), {root.path for root in self._all}
            work = partial(open_other, self.system, path, self.settings, self.base.fd, opened)
            try:
                root = calls.finish(calls.begin(work, close_if_open), LOOK_SECONDS)
            except VolumeUnavailable as exc:
                root = Unavailable(path, exc.reason)
            # Other threads may be reading the old dictionary.
            unavailable = {other: reason for other, reason in self.unavailable.items() if other != path}
            if isinstance(root, Root):
                self._add(root)
            elif root is not None:
                unavailable[root.path] = root.reason
            self.unavailable = unavailable

    def _add(self, root: Root) -> None:
        # Other threads may be reading the old list and the old set.
        self._all = sorted([root, *self._all], key=lambda root: len(root.path), reverse=True)
        self._never |= {str(path) for path in (Path(root.path), *Path(root.path).parents)}

    def __iter__(self) -> Iterator[Root]:
        return iter(self._all)

    def find(self, path: str) -> Root | None:
        """Returns the longest root above *path*; None for a root itself and for paths outside all roots."""
        for root in self._all:
            if path.startswith(root.prefix):
                if self.unavailable and self.is_unavailable(path, below=root.path):
                    return None
                if self.elsewhere.reasons and self.elsewhere.reason_of(path):
                    return None
                return None if path in self._never else root
        return None

    def outside(self, path: str, *, action: str = "managed") -> UnsafePath:
        """The error for a path outside all roots. It lists them, so that a person need not look them up."""
        names = dict.fromkeys((self.base.path, *(root.path for root in self._all)))
        why = f"{WHY['outside-roots']}: {', '.join(map(printable, names))}"
        return unsafe(path, "outside-roots", why, action=action)

    def holds_a_root(self, path: str) -> bool:
        """Whether *path* is a root or has one below it. Such a directory is never deleted."""
        return path in self._never

    def is_unavailable(self, path: str, *, below: str = "") -> str:
        """
        Returns the reason if *path* is below a root that this host does not have, or that is another directory here;
        else "".

        Args:
            below: count only missing roots below this root, because there they look like missing directories.
        """
        for missing, reason in self.unavailable.items():
            if path.startswith(missing + "/") and len(missing) > len(below):
                return reason
        return self.elsewhere.reason_of(path)

    def check(self) -> dict[str, str]:
        """
        Returns path -> reason, of the roots that are not the opened directories any more (moved, unmounted), are
        not those that files were registered in, or do not answer. All are looked at at the same time, each on a thread
        of its own.
        """
        self.take_up()
        missing = {path: reason for path, reason in self.unavailable.items() if reason == NOT_ANSWERING}
        looks: list[tuple[Root, Pending[str]]] = []
        for root in self._all:
            try:
                looks.append((root, root.calls.begin(root.look)))
            except VolumeUnavailable as exc:
                missing[root.path] = exc.reason
        end = time.monotonic() + LOOK_SECONDS
        for root, look in looks:
            try:
                reason = root.calls.finish(look, max(end - time.monotonic(), 0))
            except VolumeUnavailable as exc:
                reason = exc.reason
            if reason:
                missing[root.path] = reason
        return self.elsewhere.missing | missing

    def run_at(self, path: str, work: Callable[[], T]) -> T:
        """
        Returns what *work* returns, which uses the file system of *path*.

        Raises:
            VolumeUnavailable: it does not answer.
        """
        root = self.find(path)
        return work() if root is None else root.calls.run(work)

    def each(self, work: Callable[[Root], T]) -> Iterator[T]:
        """Yields what *work* returns for each root that answers."""
        for root in self._all:
            try:
                yield root.calls.run(partial(work, root))
            except ManagerClosed:
                raise
            except VolumeUnavailable:
                continue

    def no_rights(self) -> str:
        """Returns which right is missing to delete in the base directory; "" if none is."""
        effective_ids = os.access in os.supports_effective_ids
        mode = os.W_OK | os.X_OK
        try:
            may_write = self.base.calls.ask(
                lambda: os.access(self.base.path, mode, effective_ids=effective_ids)
            )
        except VolumeUnavailable as exc:
            return exc.reason
        if may_write:
            return ""
        return f"uid {os.geteuid()} may not write to it"

    def is_in_memory(self) -> bool:
        """Whether a reboot removes the base directory."""
        with self.use():
            return self.system.is_in_memory(self.base.fd)

    @property
    def name(self) -> str:
        return self.base.path

    def close_now(self) -> None:
        for root in self._all:
            root.close()

    def __del__(self) -> None:
        """Descriptors are closed even if a manager was dropped without ``close``."""
        self.close_now()

    def __enter__(self) -> Roots:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
