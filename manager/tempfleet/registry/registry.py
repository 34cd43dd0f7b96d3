"""
One volume's registry. Each change of a file's state is one method, and each method runs one atomic script.

Paths are ``str`` in Python and bytes in Redis. A list of files is cut into batches of what one script may move. Each
batch is atomic; the whole list is not.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from ..errors import LeaseLost
from ..records import Deletion, NewFile
from ..settings import MAX_BATCH
from .codec import as_bytes, groups, optional, pack
from .connection import AnotherDisk
from .disks import Disks, NoDisks
from .keepers import KeeperRegistry
from .keys import Volume, volumes_of
from .stats import bounds_text
from .store import Store
from .values import (
    NO_LIMITS,
    NOTHING_OWN,
    UNKNOWN,
    Claim,
    Horizon,
    Limits,
    Nack,
    Reaped,
    Registration,
    batches,
)


class Registry(KeeperRegistry):
    """
    The records of one volume.

    Every method may raise RegistryUnavailable, RegistryDenied or RegistryFull. After RegistryUnavailable the change
    may or may not have happened. Every method except ``claim`` and ``observe`` may then simply be repeated.
    """

    def __init__(self, store: Store, volume: Volume, *, disks: Disks | None = None) -> None:
        super().__init__(store, volume)
        self.disks: Disks = NoDisks() if disks is None else disks

    # -- the life of a file, in its order

    def register(
        self, files: Sequence[NewFile], limits: Limits = NO_LIMITS, own: Mapping[str, int] = NOTHING_OWN
    ) -> list[Registration]:
        """
        Enter files, or renew the deadline of registered ones. The codes are listed in scripts/register.lua.

        *own* has the ``registered_ms`` of each file that the caller registered before. Any other registered file is
        shared from now on: it has another registrant (see ``claim_own``).

        The same round trip first adds the volume to the list that sweeps read.

        Raises:
            SchemaMismatch: another version wrote this registry; nothing was changed.
        """
        registrations: list[Registration] = []
        for batch in batches(files):
            more = [field for file in batch for field in (*pack(file), own.get(file.path, ""))]
            args = limits.as_args()
            others = self.disks.others(file.path for file in batch)
            reply, members = self._enter("register", more, others, list_host=self.volume.host, **args)
            beside = self._beside(members)
            registrations += [
                Registration(code.decode(), file, packed, beside)
                for file, (code, packed) in zip(batch, groups(reply, 2), strict=True)
            ]
        return registrations

    def renew(self, path: str, *, ttl_ms: int, own_ms: int | None = None) -> int:
        """
        Move the deadline to *ttl_ms* from now, never earlier. Returns the deadline (ms, Redis clock).

        *own_ms* is the ``registered_ms`` that the caller got, if it registered the file; otherwise the file is shared
        from now on.

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
        """
        code, deadline = self._run("renew", more=[os.fsencode(path), ttl_ms, optional(own_ms)])
        self._expect(code, path)
        return int(deadline)

    def claim(self, *, limit: int, lease_ms: int, horizon: Horizon = UNKNOWN) -> Claim:
        """
        Take up to *limit* due records into a lease, the earliest deadline first.

        Args:
            limit: 1 to 1000 records.
            lease_ms: how long the claim lasts; a claimer that dies loses it then.
            horizon: what the caller knows of the time; a clock that jumped makes no file due before it.

        Raises:
            RegistryUnavailable: Redis gave no answer. If the claim happened, nobody acks it, and reap() returns its
                files after *lease_ms*.
        """
        return self._claim(horizon, limit=limit, lease_ms=lease_ms, until_ms="", aside=0, due=0)

    def claim_paths(
        self,
        paths: Sequence[str],
        *,
        lease_ms: int,
        until_ms: int,
        quarantined: bool = False,
        due: bool = False,
        horizon: Horizon = UNKNOWN,
    ) -> Claim:
        """
        Take those of *paths* (at most 1000) that wait and were registered at or before *until_ms*, due or not; only due
        ones with *due*. Quarantined files are taken only if *quarantined*, or if they are due.
        """
        more = [os.fsencode(path) for path in paths]
        args = {"limit": max(len(more), 1), "lease_ms": lease_ms, "until_ms": until_ms}
        return self._claim(horizon, **args, aside=int(quarantined), due=int(due), more=more)

    def claim_own(self, files: Mapping[str, int], *, lease_ms: int, horizon: Horizon = UNKNOWN) -> Claim:
        """
        Take those of *files* (at most 1000) that wait, that the caller registered last, and that nobody else
        registered, renewed or held: path -> the ``registered_ms`` that the caller got.
        """
        more = [*map(os.fsencode, files), *files.values()]
        args = {"limit": max(len(files), 1), "lease_ms": lease_ms}
        return self._claim(horizon, **args, until_ms="own", aside=0, due=0, more=more)

    def extend(self, token: int, *, lease_ms: int) -> None:
        """
        Let the claim last until *lease_ms* from now.

        Raises:
            LeaseLost: the claim was reaped; another claimer may have the files now.
        """
        if not self._run("extend", token=token, lease_ms=lease_ms):
            raise LeaseLost

    def begin(self, token: int, path: str) -> bool:
        """
        Record that the destruction of a claimed file begins: renew, hold and unregister are refused from now on, also
        after its claim. Returns False, and changes nothing, if the claim has ended.
        """
        return bool(self._run("begin", token=token, path=os.fsencode(path)))

    def ack(self, token: int, deletions: Sequence[Deletion]) -> int:
        """Forget files that are gone. Returns the number of files settled; see ``_settle``."""
        rows = [
            (os.fsencode(deletion.path), deletion.outcome.value, deletion.freed_bytes)
            for deletion in deletions
        ]
        bounds = {"age_bounds": bounds_text("age"), "lag_bounds": bounds_text("lag")}
        return self._settle("ack", token, rows, **bounds)

    def nack(self, token: int, nacks: Sequence[Nack]) -> int:
        """Give files back for a later try, or make them dead letters. Returns the number of files settled."""
        rows = [(os.fsencode(nack.path), nack.delay, int(nack.counts), nack.reason) for nack in nacks]
        return self._settle("nack", token, rows)

    def rewrite(self, token: int, deletions: Sequence[Deletion], *, now_ns: int) -> int:
        """
        Give the records of rewritten files to the new objects; see scripts/rewrite.lua. Returns the number of files
        settled.

        Args:
            now_ns: the time by the clock of this host, for the age of the new objects.
        """
        rows = [
            (os.fsencode(deletion.path), new.age_ms(now_ns), new.size_bytes, new.identity)
            for deletion in deletions
            if (new := deletion.rewrite) is not None
        ]
        return self._settle("rewrite", token, rows)

    def quarantine(self, token: int, moved: Sequence[tuple[str, NewFile]]) -> int:
        """
        Let the records of files that were moved into quarantine follow them: (old path, the file at its new path).
        They are due after the new file's time to live. Returns the number of files settled.
        """
        return self._settle("set_aside", token, [(os.fsencode(path), *pack(file)) for path, file in moved])

    def reap(self, *, limit: int = MAX_BATCH, horizon: Horizon = UNKNOWN) -> Reaped:
        """Give back up to *limit* files of expired claims, and end ended keepers; repeat while ``more``."""
        return Reaped.of(self._run("reap", limit=limit, **horizon.times))

    def revive(self, paths: Iterable[str]) -> dict[str, str]:
        """Make dead letters due at once. Returns the code of each path: revived or absent."""
        return self._codes("revive", list(paths))

    def unregister(
        self,
        paths: Iterable[str],
        *,
        total: str = "released",
        until_ms: int | None = None,
        with_held: bool = True,
        name: str = "",
        own: Mapping[str, int] = NOTHING_OWN,
    ) -> dict[str, str]:
        """
        Stop managing files without touching them; their holds end. Returns the code of each path: see the script.

        Args:
            total: the counter: "released", "missing" (the file is gone) or "moved_out" (another registry has it).
            until_ms: when the caller looked at the files. A file registered later is newer, and stays registered.
            with_held, name: False: held files stay registered. With a name: those that others keep.
            own: as in ``register``. Other files are remembered as shared until their deadline.
        """
        which = {"until_ms": optional(until_ms), "with_held": int(with_held), "name": as_bytes(name)}
        named = list(paths)
        shown = [own.get(path, "") for path in named]
        return self._codes("unregister", named, shown, total=total, **which)

    def take_over(self, other: Registry, paths: Sequence[str]) -> dict[str, str]:
        """
        Move records of *other* into this registry; each keeps its state. Returns the code of each path: entered; or,
        for a record that stays there: leased, taken (this registry has another record of the path), damaged, absent.

        Two volumes may lie in two cluster slots, so no script can move a record. It enters here first. A crash in
        between leaves it in both, and the next call ends that. Nothing may claim from *other*, or change it, meanwhile.

        Raises:
            SchemaMismatch: another version wrote this registry; nothing was changed.
        """
        codes: dict[str, str] = {}
        for batch in batches(paths):
            rows = dict(zip(batch, other._read_rows(batch)[1], strict=True))
            codes |= {path: row.obstacle for path, row in rows.items()}
            free = [path for path in batch if not codes[path]]
            more = [
                field for path in free for field in (os.fsencode(path), *other.as_moved(path, rows[path]))
            ]
            reply = self._enter("take_over", more, self.disks.others(free))
            codes |= {path: code.decode() for path, code in zip(free, reply, strict=True)}
            entered = [path for path in free if codes[path] in ("entered", "known")]
            left = other.unregister(entered, total="moved_out")
            codes |= {path: "leased" if left[path] == "claimed" else "entered" for path in entered}
        return codes

    # -- scripts

    def _enter(self, script: str, more: list[Any], others: str, **args: Any) -> Any:
        """Run a script that may be the first to write to this registry. *others*: the roots of the files."""
        epoch = secrets.token_hex(8)
        args |= {"more": more, "announce": self.keys.member, "epoch": epoch, "disks": others}
        return self._on_this_disk(script, **args)

    def _on_this_disk(self, script: str, **args: Any) -> Any:
        run = partial(self._run, script, disk=self.disks.base, **args)
        try:
            return run()
        except AnotherDisk:
            for field, value in self.disks.confirm(self.stats(), args.get("disks", "")).items():
                self.set_meta(field, value)
            return run()

    def _claim(self, horizon: Horizon, **args: Any) -> Claim:
        args |= {**horizon.times, "last_token": horizon.last_token, "known_epoch": horizon.epoch}
        reply, members = self._on_this_disk("claim", list_host=self.volume.host, **args)
        claim = Claim.of(reply, self._beside(members))
        self.disks.compare(claim.disks)
        return claim

    def _beside(self, members: Sequence[bytes]) -> tuple[Volume, ...]:
        """The other volumes of this host, of the entries of all of them."""
        if len(members) == 1 and members[0] == self.keys.member:
            return ()
        return tuple(volume for volume in volumes_of(members) if volume != self.volume)

    def _settle(self, script: str, token: int, rows: Sequence[Iterable[Any]], **args: Any) -> int:
        """Returns the number of files that were still leased under *token*. For the others nothing changes."""
        return sum(
            self._run(script, more=list(chain.from_iterable(batch)), token=token, **args)
            for batch in batches(rows)
        )

    def _codes(
        self, script: str, paths: Sequence[str], *fields: Sequence[Any], **args: Any
    ) -> dict[str, str]:
        """Runs a script that takes each of *paths* with its value in each of *fields*."""
        codes: dict[str, str] = {}
        for rows in batches(list(zip(paths, *fields, strict=True))):
            batch = [path for path, *_ in rows]
            more = [field for path, *others in rows for field in (os.fsencode(path), *others)]
            reply = self._run(script, more=more, **args)
            codes |= {path: code.decode() for path, code in zip(batch, reply, strict=True)}
        return codes
