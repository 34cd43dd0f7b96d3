"""
The identities of all directories of one volume, compared with those that its registry stored (see ``disk_identity``).

The registry stores the identity of a root with the first file that is registered in it. So a process with another
directory under that path (a private ``/tmp``, another container, an unmounted disk) does not take the files there for
missing. It learns of it with the claim of such a file, without another round trip.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from urllib.parse import quote, unquote_to_bytes

from ..errors import VolumeUnavailable
from ..filesystem import DIRECTORY_FLAGS, NOT_ANSWERING, Elsewhere, Roots, bounded_at, close
from ..logs import logger, printable
from ..registry import DISK, DISKS, VolumeStats
from .disk_identity import (
    REASON,
    confirm_disk,
    disk_identity_of,
    identity_of_directory,
    is_same,
    is_same_place,
)


class RootDisks:
    """What a registry asks about the directories of one volume (``registry.Disks``)."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.base = disk_identity_of(roots)
        self._identities: dict[str, str] = {}

    def others(self, paths: Iterable[str]) -> str:
        base, find = self.roots.base, self.roots.find
        found = {root.path: root for path in paths if (root := find(path)) not in (None, base)}
        if not found:
            return ""
        for path, root in found.items():
            if path not in self._identities:
                work = partial(identity_of_directory, self.roots, path, root.fd)
                self._identities[path] = root.calls.ask(work)
        return as_text({path: self._identities[path] for path in found})

    def compare(self, stored: str) -> None:
        compare_roots(stored, self.roots)

    def confirm(self, stats: VolumeStats, others: str) -> Mapping[str, str]:
        confirm_disks(stats, self.roots)
        stored = stats.meta.get(DISKS, "")
        ours = identities_in(others)
        for path in ours:
            if reason := self.roots.elsewhere.reason_of(f"{path}/"):
                raise VolumeUnavailable(_not_the_root(path), base_dir=path, reason=reason)
        return {DISK: self.base, DISKS: as_text(identities_in(stored) | ours)}


def confirm_disks(stats: VolumeStats, roots: Roots) -> None:
    """
    Compare the base directory and all other roots. Files of a root that is another directory here are unavailable.

    Raises:
        VolumeUnavailable: as ``confirm_disk``.
    """
    confirm_disk(stats, roots)
    compare_roots(stats.meta.get(DISKS, "") if stats.records else "", roots)


def compare_roots(stored: str, roots: Roots) -> None:
    """Make the roots unavailable that are not the directories in *stored*."""
    if stored == roots.elsewhere.stored:
        return
    elsewhere = elsewhere_of(stored, roots)
    for path in elsewhere.missing.keys() - roots.elsewhere.missing.keys():
        if elsewhere.missing[path] == NOT_ANSWERING:
            continue  # which is logged
        logger.warning("%s", _not_the_root(path))
    roots.elsewhere = elsewhere


def elsewhere_of(stored: str, roots: Roots, *, accept_new: bool = True) -> Elsewhere:
    """Compare the directories in *stored* with those here; *accept_new* as ``confirm_disk``."""
    reasons = []
    for path, identity in identities_in(stored).items():
        work = partial(_is_here, path, identity, roots, accept_new=accept_new)
        try:
            reasons.append((f"{path}/", "" if bounded_at(path).ask(work) else REASON))
        except VolumeUnavailable as exc:
            reasons.append((f"{path}/", exc.reason))
    reasons.sort(key=lambda pair: len(pair[0]), reverse=True)
    if any(reason == NOT_ANSWERING for _, reason in reasons):
        stored = ""  # they are compared again
    return Elsewhere(stored, tuple(reasons) if any(reason for _, reason in reasons) else ())


def accepted_roots(stored: str, roots: Roots) -> tuple[str, list[str]]:
    """
    Returns what replaces *stored* if a person accepts the directories that are here; and the paths of those that were
    others before.
    """
    changed = list(elsewhere_of(stored, roots).missing)
    identities = identities_in(stored)
    for path in changed:
        try:
            identities[path] = bounded_at(path).ask(partial(_identity_here, path, roots))
        except OSError:
            del identities[path]
    return as_text(identities), changed


def identities_in(stored: str) -> dict[str, str]:
    """Root -> identity, from the text that the registry stores."""
    lines = (line.partition(" ") for line in stored.splitlines())
    return {os.fsdecode(unquote_to_bytes(path)): identity for path, _, identity in lines}


def as_text(identities: Mapping[str, str]) -> str:
    """The text that the registry stores; a root without an identity is left out."""
    return "".join(
        f"{quote(os.fsencode(path))} {identity}\n" for path, identity in identities.items() if identity
    )


def _is_here(path: str, stored: str, roots: Roots, *, accept_new: bool) -> bool:
    """Whether *path* is the directory of *stored*, as far as this process can tell. Roots of others do not matter."""
    prefix = f"{path}/"
    if not any(root.prefix.startswith(prefix) or prefix.startswith(root.prefix) for root in roots):
        return True
    try:
        current = _identity_here(path, roots)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return not current or is_same(current, stored) or (accept_new and is_same_place(current, stored))


def _identity_here(path: str, roots: Roots) -> str:
    for root in roots:
        if root.path == path:
            return identity_of_directory(roots, path, root.fd)
    fd = os.open(path, DIRECTORY_FLAGS)
    try:
        return identity_of_directory(roots, path, fd)
    finally:
        close(fd)


def _not_the_root(path: str) -> str:
    return (
        f"{printable(path)} is not the directory in which its files were registered: is its disk mounted, or is it "
        "private to this process (PrivateTmp=, a container)? Its files are kept, and no file is registered there. If "
        "this directory is the right one: tempfleet accept-disk."
    )
