"""The files in the private directories that no clean-up takes out of there. A person has to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..filesystem import NOTE, Entry, EntryState, Root, Roots
from .comparison import SAME, compare
from .journal import abandoned
from .promises import Records
from .recovery import is_ours
from .whose import Whose, whose


@dataclass(frozen=True, slots=True)
class Stranded:
    """
    Attributes:
        inside: where the file is.
        path: where it was; "" if nothing shows it.
        foreign: another registry has, or had, its record; that one looks after it.
        namesake: that one has the same host, base directory and namespace; see namesakes.py.
        quarantined: it can be restored by hand.
    """

    inside: str
    path: str
    foreign: bool
    quarantined: bool
    namesake: bool = False


def stranded(roots: Roots, promises: Records, *, quarantine: bool) -> Iterator[Stranded]:
    """
    Every such file: of another registry, without a record, or of unknown origin. Not those that a claim or the next
    scan finds, and not those that a living process is moving.

    Args:
        quarantine: also read the companion of each file in quarantine.
    """
    for files in roots.each(lambda root: list(_stranded(root, roots, promises, quarantine=quarantine))):
        yield from files


def _stranded(root: Root, roots: Roots, promises: Records, *, quarantine: bool) -> Iterator[Stranded]:
    private, names = root.private.peek(), root.private.names()
    notes = {f"{token:x}": note for _, token, note in abandoned(private, names)}
    living = {name.split(".")[1] for name in names if name.startswith(f"{NOTE}.")} - set(notes)
    for entry in root.private.entries():
        token = f"{entry.token:x}"
        aside = entry.state is EntryState.ASIDE
        if entry.state is EntryState.FORM or token in living or (aside and not quarantine):
            continue
        found = whose(private, entry, notes.get(token))
        inside = f"{root.private.path}/{entry.name}"
        foreign = found.owner is not None and not is_ours(found.owner, promises)
        if foreign and aside and promises.read([inside])[1] != [None]:
            continue  # its registry was taken over
        if foreign or not _is_looked_after(root, entry, found, promises, roots):
            path = "" if found.file is None else found.file.path
            namesake = found.owner is not None and found.owner.is_namesake(promises.owner())
            yield Stranded(inside, path, foreign, aside, foreign and namesake)


def _is_looked_after(root: Root, entry: Entry, found: Whose, promises: Records, roots: Roots) -> bool:
    """Whether a record finds *entry*, or the next scan registers it: those in quarantine."""
    if found.file is None or entry.size_bytes or entry.state is EntryState.ASIDE:
        return found.file is not None
    (record,) = promises.read([found.file.path])[1]
    try:
        return record is not None and (
            compare(record, root, root.private.peek(), entry.name, roots.system.reader()) is SAME
        )
    except FileNotFoundError:
        return True
