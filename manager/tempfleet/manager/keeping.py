"""
What becomes of a registered file while it is wanted: kept longer, read, let go.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import IO, Any

from ..compression import CompressionReport, open_content
from ..errors import AlreadyClaimed, FileMissing, NotRegistered, RegistryUnavailable
from ..filesystem import normalise
from ..logs import logger, printable
from ..validation import hold_ms, hold_reason, ttl_ms
from .local_volume import Connected, StrPath


class Keeping(Connected):
    """Renew, hold, unregister; read and compress."""

    def renew(self, path: StrPath, *, ttl: float | None = None) -> float:
        """
        Move a file's deadline to *ttl* seconds from now, never earlier; returns the deadline (seconds, Redis clock).

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
        """
        life = ttl_ms(self.max_age if ttl is None else ttl)
        return self.registry.renew(normalise(path), ttl_ms=life) / 1000

    def hold(self, path: StrPath, seconds: float | None = None, *, reason: str | None = None) -> None:
        """
        Keep a file for *seconds* whatever its deadline; for ever, without. Holding it again sets both anew.

        Args:
            reason: for the people who find it held; shown by ``tempfleet ls`` and ``explain``.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            ReasonTooLong: it has more than 500 characters; nothing changed.
        """
        self.registry.hold(normalise(path), hold_ms=hold_ms(seconds), reason=hold_reason(reason))

    def unhold(self, path: StrPath) -> bool:
        """End a hold; False when there was none. The file falls due at its own deadline again."""
        return self.registry.unhold(normalise(path))

    def unregister(self, path: StrPath) -> None:
        """
        Take a file out of management: it is its user's again, as it was; what was compressed is decompressed before.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
            CompressionUnavailable, OSError: it could not be decompressed and is still registered.
        """
        absolute = normalise(path)
        code = self.registry.unregister([absolute])[absolute]
        if code == "compressed":
            total = "released" if self._decompress_if_there(absolute) else "missing"
            code = self.registry.unregister([absolute], total=total)[absolute]
        if code == "absent":
            raise NotRegistered.of(absolute, self.volume.in_words)
        if code != "released":
            raise AlreadyClaimed.of(absolute, compressing=code == "compressed")

    def revive(self, path: StrPath) -> None:
        """
        Bring a dead letter back, due at once.

        Raises:
            NotRegistered: the file is no dead letter; nothing changed.
        """
        absolute = normalise(path)
        if self.registry.revive([absolute])[absolute] == "absent":
            raise NotRegistered.as_dead_letter(absolute)

    def open(
        self, path: StrPath, mode: str = "rb", encoding: str | None = None, errors: str | None = None
    ) -> IO[Any]:
        """
        Open a file to read what was written into it, compressed or not; it can be sought in. Whoever compresses it,
        or deletes it, meanwhile does not disturb a file that is open. Asks the disk alone, never Redis.

        Args:
            mode: "rb" or "r"; to write, ``decompress`` the file and open it as any other.

        Raises:
            FileMissing, UnsafePath: nothing has that name; it is outside the roots, or no regular file.
            CompressionUnavailable: it is compressed, and this process has not got the library.
            OSError: as ``open``; EIO at reading where the compressed form is damaged.
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError(
                f"manager.open reads, in mode 'r' or 'rb', not {mode!r}; to write, decompress the file first"
            )
        content = open_content(normalise(path), self.roots)
        return content if mode == "rb" else io.TextIOWrapper(content, encoding=encoding, errors=errors)

    def compress_idle(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[CompressionReport], None] | None = None,
    ) -> CompressionReport:
        """
        Compress the files that were idle for TEMP_FILE_COMPRESS_AFTER and may be compressed. A worker does this by
        itself. Raises as ``Compressor.compress_idle``.
        """
        return self.compressor.compress_idle(budget_seconds=budget_seconds, stop=stop, progress=progress)

    def decompress(self, path: StrPath) -> bool:
        """
        Give a compressed file its plain form back; False if it has that. Its idle time begins anew.

        Raises:
            FileMissing, AlreadyClaimed, UnsafePath, CompressionUnavailable, OSError: see ``Compressor.decompress``;
                the file is as it was.
        """
        return self.compressor.decompress(normalise(path))

    def restore(self, path: StrPath) -> None:
        """
        Bring a file back from the quarantine (TEMP_FILE_QUARANTINE), never over another one; it is its user's again,
        and what was compressed is decompressed.

        The disk alone decides, so this works as long as the file is there, also when Redis has lost its records, or
        does not answer: then a warning says that it could not be told.

        Raises:
            FileMissing: nothing from that path is in quarantine; the grace period may be over.
            UnsafePath: the name is taken; the file stays in quarantine.
        """
        aside = self.local_volume.unchecked_cleaner.deleter.restore(normalise(path))
        logger.info("Restored temporary file: %s", printable(aside.path))
        try:
            self.registry.unregister([aside.aside_path])
            self.registry.observe({"restored": 1})
            self._decompress_if_there(aside.path)
        except RegistryUnavailable as exc:  # in time its record is found missing
            logger.warning("%s is back, and the registry could not be told: %s", printable(aside.path), exc)

    def _decompress_if_there(self, path: str) -> bool:
        try:
            self.compressor.decompress(path)
        except FileMissing:
            return False  # nothing is left to be read by anybody
        return True
