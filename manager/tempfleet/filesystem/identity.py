"""
Which object was registered, as one word of text.

A pair of device and inode number is no identity: ext4 gives a freed inode to the next file at once, and a
stored device number changes with a reboot or a remount. The word starts with a letter that says what it is
made of:

    g<ino>.<birth>.<handle>                  inode, birth time and the kernel's file handle (which contains
                                             the inode's generation)
    b<ino>.<birth>                           where file handles do not outlive a remount (FUSE, overlay, NFS)
    h<ino>.<handle>                          where the file system stores no birth time (tmpfs before Linux 6.6)
    w<ino>.<change>.<size>.<modified>        weak: where there is neither. A write to the file changes it; then
                                             the file is kept.

Numbers are hexadecimal. Only ``w`` is weak; the others outlive writing, renaming, linking, chmod and chown.

While a file changes its form (see exchange.py) it is one of two objects, and its identity is both words with a
``+`` between: what is asked of such an identity is asked of either.
"""

from __future__ import annotations

from typing import Final

from .stat import Reader, Stat

WEAK: Final = "w"


def take(reader: Reader, fd: int, name: str, found: Stat, *, handles: bool) -> str:
    """The identity of the entry *name* of directory *fd*, of which *found* was just read."""
    handle = reader.handle(fd, name) if handles else ""
    if handle and found.birth_ns is not None:
        return f"g{found.ino:x}.{found.birth_ns:x}.{handle}"
    if found.birth_ns is not None:
        return f"b{found.ino:x}.{found.birth_ns:x}"
    if handle:
        return f"h{found.ino:x}.{handle}"
    return f"{WEAK}{found.ino:x}.{found.change_ns:x}.{found.size:x}.{found.modified_ns:x}"


def forms(identity: str) -> list[str]:
    """The objects that *identity* stands for: two while a file changes its form, else one."""
    return identity.split("+")


def is_one(identity: str) -> bool:
    """Whether it is an identity at all: a record may have none, or be damaged."""
    return identity[:1] in ("g", "b", "h", WEAK)


def is_weak(identity: str) -> bool:
    return identity[:1] == WEAK


def is_told_by(identity: str, found: Stat, *, handles: bool) -> bool:
    """
    Whether what this process can see is enough to tell the object from another with its inode number. It may see less
    than the one that registered it: a container's seccomp filter is enough.
    """
    if identity[:1] in ("g", "h") and handles:
        return True
    return is_weak(identity) or (identity[:1] in ("g", "b") and found.birth_ns is not None)


def agrees(identity: str, found: Stat, *, moved: bool = False) -> bool:
    """
    Whether *found* can be the object: all that stat alone tells. A different object mostly fails here; whether this is
    enough to go by, ``is_told_by`` says.

    Args:
        moved: it is in our private directory, where it was pinned and compared as it came. Of a weak identity the
            inode number is left, which is its own while it is there: what we did to it since (moving it, emptying
            it, overwriting it) changed the rest.
    """
    if "+" in identity:
        return any(agrees(form, found, moved=moved) for form in forms(identity))
    kind = identity[:1]
    if kind == "g":  # nearly every file: most are settled here
        born_ns = found.birth_seconds * 1_000_000_000 + found.birth_rest_ns
        if identity.startswith(f"{found.ino:x}.{born_ns:x}.", 1):
            return True
    if kind == "h" or (kind in ("g", "b") and found.birth_ns is None):
        return identity.startswith(f"{found.ino:x}.", 1)
    if kind == "b":
        return identity[1:] == f"{found.ino:x}.{found.birth_ns:x}"
    if kind != WEAK:
        return False
    if moved:
        return identity.startswith(f"{found.ino:x}.", 1)
    return identity[1:] == f"{found.ino:x}.{found.change_ns:x}.{found.size:x}.{found.modified_ns:x}"


def handles_in(identity: str) -> list[str]:
    """The file handles in *identity*, none if it has none."""
    if identity[:1] not in ("g", "h"):
        return []
    if "+" not in identity:  # nearly every file
        return [identity.rpartition(".")[2]]
    return [form.rpartition(".")[2] for form in forms(identity)]
