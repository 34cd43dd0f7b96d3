"""
One volume's registry: every move of a file's life as one method, every method one atomic script.

With looking.py, the only place where what is in Redis becomes what is in Python. Paths are ``str`` outside and
bytes inside. Batches are cut to what a script may move; each part is atomic, a batch as a whole is not.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import AlreadyClaimed, LeaseLost, NotRegistered
from ..records import Deletion, FileRecord, NewFile
from ..settings import MAX_BATCH
from .codec import as_bytes, pack
from .keys import SCHEMA, Volume
from .reader import RegistryReader, groups, parts, unpacked
from .stats import bounds_text, bucket_of
from .store import Store
from .values import NO_LIMITS, Claim, Limits, Nack, Reaped, Registration


class Registry(RegistryReader):
    """
    The records of one volume.

    Every method may raise RegistryUnavailable (no answer: the move may or may not have happened, and all but
    claim() may simply be repeated), RegistryDenied or RegistryFull.
    """

    def __init__(self, store: Store, volume: Volume, *, disk: str = "") -> None:
        """*disk* is the identity of the base directory, where it can be seen; see disk.py."""
        super().__init__(store, volume)
        self.disk = disk

    # -- the life of a file, in its order

    def register(self, files: Sequence[NewFile], limits: Limits = NO_LIMITS) -> list[Registration]:
        """
        Enter files, or renew the promise of those already known; see scripts/register.lua for the codes.

        The volume is announced in the same round trip, before its first registration.

        Raises:
            SchemaMismatch: another version wrote this registry; nothing was changed.
        """
        done: list[Registration] = []
        for part in parts(files):
            more = [field for file in part for field in pack(file)]
            answer = self._run(
                "register",
                more=more,
                announce=self.keys.member,
                schema=SCHEMA,
                epoch=secrets.token_hex(8),
                disk=self.disk,
                **limits.as_args(),
            )
            done += [
                Registration(code.decode(), file, int(registered), int(deadline))
                for file, (code, registered, deadline) in zip(part, groups(answer, 3), strict=True)
            ]
        return done

    def renew(self, path: str, *, ttl_ms: int) -> int:
        """
        Move the deadline to *ttl_ms* from now, never earlier; returns it (ms, Redis clock).

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
        """
        code, deadline = self._run("renew", more=[os.fsencode(path), ttl_ms])
        self._expect(code, path)
        return int(deadline)

    def hold(self, path: str, *, hold_ms: int | None, reason: str = "") -> None:
        """Keep a file for *hold_ms*, None for ever, because of *reason*. Raises as ``renew`` does."""
        ends = "" if hold_ms is None else hold_ms
        (code,) = self._run("hold", more=[os.fsencode(path)], hold_ms=ends, reason=as_bytes(reason))
        self._expect(code, path)

    def unhold(self, path: str) -> bool:
        """End a hold; False when there was none. Raises NotRegistered."""
        (code,) = self._run("unhold", more=[os.fsencode(path)])
        self._expect(code, path)
        return bool(code == b"lifted")

    def unregister(
        self, paths: Iterable[str], *, total: str = "released", until_ms: int | None = None
    ) -> dict[str, str]:
        """
        Take files out of management without touching them; the code of each: released, claimed, compressed (it is
        to be decompressed before), newer or absent.

        Args:
            total: names the counter: "released", "missing" (the file is gone), "moved_out" (another registry has it).
            until_ms: when they were looked at; what was registered later is newer, and stays.
        """
        before = "" if until_ms is None else until_ms
        codes: dict[str, str] = {}
        for part in parts(list(paths)):
            more = [os.fsencode(path) for path in part]
            answer = self._run("unregister", more=more, total=total, until_ms=before)
            codes.update((path, code.decode()) for path, code in zip(part, answer, strict=True))
        return codes

    def take_over(self, other: Registry, paths: Sequence[str]) -> dict[str, str]:
        """
        Have records of *other* here, each in the state that it has there, and no longer there. The code of each:
        entered; or it stays there: leased, taken (the path has a record of its own here), damaged, absent.

        Two volumes may lie in two cluster slots, so no script moves a record. It enters here first: a crash in between
        leaves it in both, and the next call ends that. Nothing must claim from *other* meanwhile, nor change it.

        Raises:
            SchemaMismatch: another version wrote this registry; nothing was changed.
        """
        codes: dict[str, str] = {}
        for part in parts(paths):
            _, seen = other._look(part)
            rows = dict(zip(part, seen, strict=True))
            codes |= {path: _hindrance(row) for path, row in rows.items()}
            free = [path for path in part if not codes[path]]
            more = [field for path in free for field in (os.fsencode(path), *_without_lease(rows[path]))]
            given = {"schema": SCHEMA, "epoch": secrets.token_hex(8), "disk": self.disk}
            answer = self._run("take_over", more=more, announce=self.keys.member, **given)
            codes.update((path, code.decode()) for path, code in zip(free, answer, strict=True))
            here = [path for path in free if codes[path] in ("entered", "known")]
            left = other.unregister(here, total="moved_out")
            codes |= {path: "leased" if left[path] == "claimed" else "entered" for path in here}
        return codes

    def claim(self, *, limit: int, lease_ms: int) -> Claim:
        """
        Pop up to *limit* due records into a lease, soonest deadline first.

        Args:
            limit: 1..1000 records.
            lease_ms: how long the claim holds; a holder that dies loses it then.

        Raises:
            RegistryUnavailable: Redis gave no answer. The claim may have happened; then nobody acks it and
                reap() returns it after *lease_ms*.
        """
        return self._claim(limit=limit, lease_ms=lease_ms, until_ms="", aside=0)

    def claim_paths(
        self, paths: Sequence[str], *, lease_ms: int, until_ms: int, aside: bool = False
    ) -> Claim:
        """
        Pop those of *paths* (at most 1000) that wait and were registered at or before *until_ms*, due or not; what
        is in quarantine only if *aside*, or when its grace period is over.
        """
        more = [os.fsencode(path) for path in paths]
        limit = max(len(more), 1)
        return self._claim(limit=limit, lease_ms=lease_ms, until_ms=until_ms, aside=int(aside), more=more)

    def extend(self, token: int, *, lease_ms: int) -> None:
        """
        Give the claim *lease_ms* from now.

        Raises:
            LeaseLost: it was reaped; the files may be somebody else's now.
        """
        if not self._run("extend", token=token, lease_ms=lease_ms):
            raise LeaseLost

    def ack(self, token: int, deletions: Sequence[Deletion]) -> int:
        """
        Forget files that are gone; how many were still leased under *token*. For the others nothing changes.
        """
        settled = 0
        for part in parts(deletions):
            more = [
                field
                for deletion in part
                for field in (os.fsencode(deletion.path), deletion.outcome.value, deletion.freed_bytes)
            ]
            settled += self._run(
                "ack", more=more, token=token, age_bounds=bounds_text("age"), lag_bounds=bounds_text("lag")
            )
        return settled

    def nack(self, token: int, kept: Sequence[Nack]) -> int:
        """
        Put files that are not gone back, later, or bury them; how many were still leased under *token*.
        """
        settled = 0
        for part in parts(kept):
            more = [
                field
                for keep in part
                for field in (os.fsencode(keep.path), _delay(keep), int(keep.counts), keep.reason)
            ]
            settled += self._run("nack", more=more, token=token)
        return settled

    def quarantine(self, token: int, moved: Sequence[tuple[str, NewFile]]) -> int:
        """
        Let records follow their files into the quarantine: (path, file as it is there now); how many were still leased
        under *token*. They are due when the grace period, the new file's time to live, ends.
        """
        settled = 0
        for part in parts(moved):
            more = [field for path, file in part for field in (os.fsencode(path), *pack(file))]
            settled += self._run("set_aside", more=more, token=token)
        return settled

    def amend(
        self,
        path: str,
        *,
        expected: str,
        identity: str,
        marks: str,
        size_bytes: int | None = None,
        total: str = "",
        saved_bytes: int = 0,
    ) -> bool:
        """
        Let the record of a file that changes its form stand for another object; see scripts/amend.lua. False where it
        is not as *expected*: nothing changed then.
        """
        return bool(
            self._run(
                "amend",
                path=os.fsencode(path),
                expected=expected,
                identity=identity,
                marks=marks,
                size="" if size_bytes is None else size_bytes,
                total=total,
                saved=max(saved_bytes, 0),
            )
        )

    def reap(self, *, limit: int = MAX_BATCH) -> Reaped:
        """Return up to *limit* files of claims, and of holds, that ran out; repeat while ``more``."""
        recovered, lifted, more = self._run("reap", limit=limit)
        return Reaped(recovered, lifted, bool(more))

    def revive(self, paths: Iterable[str]) -> dict[str, str]:
        """Bring dead letters back, due at once; the code of each: revived or absent."""
        codes: dict[str, str] = {}
        for part in parts(list(paths)):
            answer = self._run("revive", more=[os.fsencode(path) for path in part])
            codes.update((path, code.decode()) for path, code in zip(part, answer, strict=True))
        return codes

    # -- the volume as a whole

    def set_meta(self, field: str, value: str) -> None:
        """Set a field of meta: DISK, FULL or NOT_SERVED. "" removes it."""
        if value:
            self._redis("hset", "meta", field, value)
        else:
            self._redis("hdel", "meta", field)

    def observe(
        self, totals: Mapping[str, int] | None = None, *, histogram: str = "", seconds: float = 0
    ) -> None:
        """Add amounts to totals, and one time to a histogram ("duration" of a clean-up, or "sweep") if named."""
        more = [field for total in (totals or {}).items() for field in total]
        bucket = bucket_of(histogram, seconds) if histogram else ""
        self._run("observe", more=more, name=histogram, bucket=bucket, ms=round(seconds * 1000))

    def record_plugin(self, plugin: str, *, failures: int, said: str, hold_ms: int) -> None:
        """Count failures of a plug-in, and say for *hold_ms* why it is switched off; "" that it is well."""
        self._run("note", name=plugin, said=said, hold_ms=hold_ms, failures=failures)

    def _claim(self, **args: Any) -> Claim:
        token, now_ms, left, *files = self._run("claim", **args)
        records = tuple(_claimed(*file) for file in groups(files, 3))
        return Claim(int(token or 0), int(now_ms), left, records)

    def _expect(self, code: bytes, path: str) -> None:
        if code == b"absent":
            raise NotRegistered.of(path, self.volume.in_words)
        if code == b"claimed":
            raise AlreadyClaimed.of(path)


def _claimed(path: bytes, packed: bytes, attempts: bytes) -> FileRecord:
    return unpacked(path, packed, attempts=int(attempts))


def _hindrance(row: Sequence[bytes]) -> str:
    """Why a record that look.lua tells of cannot move; "" if it can."""
    record, _, leased, *_ = row
    if not record:
        return "absent"
    if leased:
        return "leased"
    return "" if sum(score != b"" for score in row[1:5]) == 1 else "damaged"


def _without_lease(row: Sequence[bytes]) -> Sequence[bytes]:
    """What take_over.lua takes of what look.lua tells."""
    return (*row[:2], *row[3:])


def _delay(keep: Nack) -> str | int:
    if keep.bury:
        return "never"
    return "own" if keep.delay_ms is None else keep.delay_ms
