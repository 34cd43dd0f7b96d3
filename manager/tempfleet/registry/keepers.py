"""
Keepers: named holds with an end. A file is held exactly while it has a keeper.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..errors import AlreadyClaimed, NotRegistered
from ..records import FileRecord, Keeper
from .codec import Row, as_bytes, as_text, groups, milliseconds, optional
from .forms import FormRegistry
from .keys import HOLD
from .values import batches


class KeeperRegistry(FormRegistry):
    """The keepers of one volume. Registry lists the errors that every method may raise."""

    def hold(
        self,
        path: str,
        *,
        hold_ms: int | None,
        reason: str = "",
        name: str = HOLD,
        instead: str = "",
        own_ms: int | None = None,
    ) -> int | None:
        """
        Keep a file for *hold_ms* (None: for ever), or longer if the keeper *name* already keeps it longer. Returns the
        end of the keeper (ms, Redis clock), None if it has no end. Raises as ``renew`` does.

        Args:
            reason: stored if the call adds the keeper or moves its end.
            instead: the name of another keeper, which ends in the same move.
            own_ms: as in ``renew``.
        """
        texts = as_bytes(name), optional(hold_ms), as_bytes(reason), as_bytes(instead), optional(own_ms)
        more = [os.fsencode(path), *texts]
        code, end = self._run("keep", more=more)
        self._expect(code, path)
        return milliseconds(end)

    def unhold(self, path: str, *, name: str = HOLD, due_now: bool = False) -> bool:
        """
        End the keeper *name*. Returns False if there was none. Raises NotRegistered.

        Args:
            due_now: if it was the last keeper, the file is due at once, unless another registrant shares it.
        """
        due = "now" if due_now else "own"
        (code,) = self._run("drop", more=[os.fsencode(path), as_bytes(name)], due=due)
        self._expect(code, path)
        return bool(code != b"unkept")

    def extend_keepers(self, paths: Sequence[str], *, name: str, keep_ms: int) -> list[str]:
        """
        Let the keeper *name* of each path last until *keep_ms* from now, if that is later. Never creates one: returns
        the paths that have no such keeper.
        """
        missing: list[str] = []
        for batch in batches(paths):
            more = [field for path in batch for field in (os.fsencode(path), as_bytes(name))]
            reply = self._run("extend_keepers", more=more, keep_ms=keep_ms)
            missing += [path for path, exists in zip(batch, reply, strict=True) if not exists]
        return missing

    def keepers(self, path: str) -> list[Keeper]:
        """Who holds *path*, until when and why; sorted by name."""
        found, after = list[Keeper](), b""
        while page := groups(self._run("list_keepers", path=os.fsencode(path), after=after), 3):
            found += [Keeper(as_text(name), as_text(why), milliseconds(end)) for name, end, why in page]
            after = page[-1][0]
        return found

    def _expect(self, code: bytes, path: str) -> None:
        if code == b"absent":
            raise NotRegistered.of(path, self.volume.in_words)
        if code == b"claimed":
            raise AlreadyClaimed.of(path)

    def as_moved(self, path: str, row: Row) -> list[Any]:
        """What take_over.lua takes of *path*, after the path."""
        keepers = self.keepers(path) if row.held else []
        return [row.record, row.waiting, row.dead, row.attempts, row.error, len(keepers)] + [
            field
            for name, reason, ends_ms in keepers
            for field in (as_bytes(name), "inf" if ends_ms is None else ends_ms, as_bytes(reason))
        ]

    def forget_former(self, record: FileRecord) -> None:
        """Drop the trace of an unregistered file. *record* is the one that it had."""
        self._run("drop_trace", path=os.fsencode(record.path), deadline_ms=record.deadline_ms)
