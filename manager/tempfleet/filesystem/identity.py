"""
Which object was registered, as one word of text.

A device and an inode number do not identify a file: ext4 gives a freed inode to the next file at once, and a
stored device number changes with a reboot or a remount. The first letter of the word says what it is made of:

    g<ino>.<birth>.<handle>                  inode, birth time and the kernel's file handle (which contains
                                             the inode's generation)
    b<ino>.<birth>                           if file handles do not outlive a remount (FUSE, overlay, NFS)
    h<ino>.<handle>                          if the file system stores no birth time (tmpfs before Linux 6.6)
    w<ino>.<change>.<size>.<modified>        weak: if there is neither. A write to the file changes it; then
                                             the file is kept, see deletion/rewrite.py. The change time is not
                                             compared: moving a file, or putting it back, changes it. Of a
                                             directory only the inode number is compared, because each file
                                             that is created or deleted in it changes the rest.

Numbers are hexadecimal. Only ``w`` is weak; the others outlive writing, renaming, linking, chmod and chown.

While a file is being compressed or decompressed (see deletion/exchange.py), its record accepts two objects. Its
identity is then both words with a ``+`` between. Each question is answered for either of them.

Records contain this as plain text. If a file is registered again, the registry compares the two texts, part by part
(registry/scripts/lib/identity.lua). Code that compares a text with a file wraps it, which costs a tenth of a
microsecond: ``Identity(record.identity).matches(status)``.
"""

from __future__ import annotations

from stat import S_IFDIR
from typing import Final

from .stat import Reader, Stat

WEAK: Final = "w"


class Identity(str):
    """The text of an identity. Any text can be wrapped, see ``is_valid``."""

    __slots__ = ()

    @classmethod
    def of(cls, reader: Reader, fd: int, name: str, status: Stat, *, handles: bool) -> Identity:
        """
        The identity of the entry *name* of directory *fd*. *status* was just read from it.

        Args:
            handles: the file system has file handles that last.
        """
        handle = reader.handle(fd, name) if handles else ""
        if handle and status.birth_ns is not None:
            return cls(f"g{status.ino:x}.{status.birth_ns:x}.{handle}")
        if status.birth_ns is not None:
            return cls(f"b{status.ino:x}.{status.birth_ns:x}")
        if handle:
            return cls(f"h{status.ino:x}.{handle}")
        return cls(f"{WEAK}{status.ino:x}.{status.change_ns:x}.{status.size:x}.{status.modified_ns:x}")

    @property
    def alternatives(self) -> list[Identity]:
        """The objects that the record accepts: two during an exchange, else one."""
        return [Identity(part) for part in self.split("+")]

    @property
    def is_valid(self) -> bool:
        """Whether this is an identity at all: a record may have none, or be damaged."""
        return self[:1] in ("g", "b", "h", WEAK)

    @property
    def is_weak(self) -> bool:
        return self[:1] == WEAK

    @property
    def handles(self) -> list[str]:
        """The file handles in it; empty if it has none."""
        if self[:1] not in ("g", "h"):
            return []
        if "+" not in self:  # nearly every file
            return [self.rpartition(".")[2]]
        return [part.rpartition(".")[2] for part in self.split("+")]

    def agrees_with(self, other: Identity) -> bool:
        """
        Whether both can be of one object. Two processes can see more or less of it, so only what both contain is
        compared; never the changing parts of a weak one.
        """
        mine, theirs = self._facts(), other._facts()
        return all(fact == theirs.get(name, fact) for name, fact in mine.items())

    def _facts(self) -> dict[str, str]:
        parts = self[1:].split(".")
        names = {"g": ("ino", "birth", "handle"), "b": ("ino", "birth"), "h": ("ino", "handle")}
        return dict(zip(names.get(self[:1], ("ino",)), parts, strict=False))

    def without_inode(self) -> Identity:
        """The same identity with the inode number 0."""
        return Identity(f"{self[:1]}0.{self.partition('.')[2]}")

    def can_decide(self, status: Stat, *, handles: bool) -> bool:
        """
        Whether this process sees enough to tell the object from another one with its inode number. It may see less
        than the process that registered it: a container's seccomp filter is enough.
        """
        if self[:1] in ("g", "h") and handles:
            return True
        return self.is_weak or (self[:1] in ("g", "b") and status.birth_ns is not None)

    def has_inode_of(self, status: Stat) -> bool:
        return self.startswith(f"{status.ino:x}.", 1)

    def is_unchanged_in(self, status: Stat) -> bool:
        """Whether all of a weak identity but the inode number is that of *status*."""
        return self.is_weak and self.endswith(f".{status.change_ns:x}.{status.size:x}.{status.modified_ns:x}")

    def matches(self, status: Stat) -> bool:
        """
        Whether *status* can be the object, as far as stat alone shows. Most other objects fail here. ``can_decide``
        returns whether this is enough to decide.
        """
        if "+" in self:
            return any(part.matches(status) for part in self.alternatives)
        kind = self[:1]
        if kind == "g":  # nearly every file: most are settled here
            born_ns = status.birth_seconds * 1_000_000_000 + status.birth_rest_ns
            if self.startswith(f"{status.ino:x}.{born_ns:x}.", 1):
                return True
        if kind == "h" or (kind in ("g", "b") and status.birth_ns is None):
            return self.has_inode_of(status)
        if kind == "b":
            return self[1:] == f"{status.ino:x}.{status.birth_ns:x}"
        if kind != WEAK:
            return False
        if not self.has_inode_of(status):
            return False
        return status.kind == S_IFDIR or self.endswith(f".{status.size:x}.{status.modified_ns:x}")
