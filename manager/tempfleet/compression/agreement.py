"""
What the registry accepts while a file is being compressed or decompressed.

deletion/exchange.py calls it at three moments. Each change is made only if the record is still as it was read.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..deletion import NewForm
from ..logs import logger, printable
from ..records import FileRecord, Flag
from ..registry import Registry


@dataclass(frozen=True, slots=True)
class RecordAgreement:
    """
    For a registered file.

    Attributes:
        marks: the flags for compression, once the file has its new form.
        total: the counter to increase then.
        needed: a flag that the record must still have when the exchange begins; "" for none.
    """

    registry: Registry
    record: FileRecord
    marks: str
    total: str
    needed: str = ""

    def promise(self, both: str) -> bool:
        return self._amend(self.record.identity, both, Flag.COMPRESSED, needed=self.needed)

    def take_back(self, both: str) -> None:
        self._amend(both, self.record.identity, Flag.COMPRESSED if self.record.is_compressed else "")

    def settle(self, both: str, new: NewForm) -> None:
        settled = self.registry.amend(
            self.record.path,
            expected=both,
            identity=new.identity,
            marks=self.marks,
            size_bytes=new.size_bytes,
            total=self.total,
            saved_bytes=new.saved_bytes,
        )
        # It was unregistered or deleted, or another file was registered there.
        if not settled:
            logger.info("%s left the registry as it changed its form", printable(self.record.path))

    def _amend(self, expected: str, identity: str, marks: str, *, needed: str = "") -> bool:
        return self.registry.amend(
            self.record.path, expected=expected, identity=identity, marks=marks, needed=needed
        )


class NoAgreement:
    """For a file without a record: nothing has to agree."""

    def promise(self, both: str) -> bool:
        return True

    def take_back(self, both: str) -> None:
        return

    def settle(self, both: str, new: NewForm) -> None:
        return
