"""
A file that is compressed or decompressed in place: its record goes over to another object.
"""

from __future__ import annotations

import os

from .totals import TotalsRegistry


class FormRegistry(TotalsRegistry):
    """The forms of the files of one volume. Registry lists the errors that every method may raise."""

    def amend(
        self,
        path: str,
        *,
        expected: str,
        identity: str,
        marks: str,
        needed: str = "",
        size_bytes: int | None = None,
        total: str = "",
        saved_bytes: int = 0,
    ) -> bool:
        """
        Give a record another object's identity, because its file changes its form; see scripts/amend.lua. Returns
        False, and changes nothing, if the record does not have the identity *expected* and the flag *needed*.
        """
        changed = self._run(
            "amend",
            path=os.fsencode(path),
            expected=expected,
            needed=needed,
            identity=identity,
            marks=marks,
            size="" if size_bytes is None else size_bytes,
            total=total,
            saved=max(saved_bytes, 0),
        )
        return bool(changed)
