"""
The registry as a plain dictionary: the meaning of each move, written a second time and as simply as possible.

It has no Redis, no scores and no scripts. The state machine compares it with the real registry after every step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace


@dataclass
class Entry:
    state: str
    registered: int
    deadline: int
    identity: str
    size: int
    # Waiting: the time of the next try. Held: the end of the hold. None means never.
    due: int | None = None
    attempts: int = 0
    error: str = ""
    token: int = 0
    behind: Entry | None = None
    reason: str = ""
    flags: str = ""
    tag: bool = False

    @property
    def is_quarantined(self) -> bool:
        return "q" in self.flags

    def is_one_of(self, identity: str) -> bool:
        return identity in self.identity.split("+")


@dataclass
class Model:
    now: int
    files: dict[str, Entry] = field(default_factory=dict)
    # token -> lease deadline
    leases: dict[int, int] = field(default_factory=dict)
    last_token: int = 0
    totals: dict[str, int] = field(default_factory=dict)

    def count(self, total: str, amount: int = 1) -> None:
        self.totals[total] = self.totals.get(total, 0) + amount

    # -- moves

    def register(self, path: str, ttl: int, identity: str, size: int, *, tag: bool = False) -> str:
        fresh = Entry("waiting", self.now, self.now + ttl, identity, size, due=self.now + ttl, tag=tag)
        old = self.files.get(path)
        if old is None:
            self.files[path] = fresh
            self.count("registered")
            return "new"
        same = old.is_one_of(identity)
        if same:
            fresh.identity, fresh.flags = old.identity, old.flags.replace("i", "")
        if old.state == "leased":
            if not same:
                old.behind = fresh
            return "claimed" if same else "behind"
        if same:
            fresh.deadline = fresh.due = max(fresh.deadline, old.deadline)
        if old.state == "held":
            fresh.state, fresh.due, fresh.reason = "held", old.due, old.reason
        self.files[path] = fresh
        return "again" if same else "swapped"

    def renew(self, path: str, ttl: int) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.state == "leased":
            return "claimed"
        entry.deadline = max(entry.deadline, self.now + ttl)
        if entry.state == "waiting":
            entry.due = max(entry.due or 0, entry.deadline)
        return "renewed"

    def hold(self, path: str, ms: int | None, reason: str) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.state == "leased":
            return "claimed"
        entry.state, entry.due = "held", None if ms is None else self.now + ms
        entry.reason = reason
        return "held"

    def unhold(self, path: str) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.state != "held":
            return "unheld"
        entry.state, entry.due, entry.reason = "waiting", entry.deadline, ""
        return "lifted"

    def unregister(self, path: str) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.state == "leased":
            return "claimed"
        if "z" in entry.flags and "q" not in entry.flags:
            return "compressed"
        del self.files[path]
        self.count("released")
        return "released"

    def amend(self, path: str, expected: str, identity: str, marks: str, size: int | None) -> bool:
        entry = self.files.get(path)
        if entry is None or entry.identity != expected:
            return False
        if entry.state == "leased" and "+" not in expected:
            return False
        entry.identity, entry.flags = identity, marks
        entry.size = entry.size if size is None else size
        return True

    def claimable(self) -> list[str]:
        due = [
            (e.due, path)
            for path, e in self.files.items()
            if e.state == "waiting" and (e.due or 0) <= self.now
        ]
        return [path for _, path in sorted(due, key=lambda pair: (pair[0], os.fsencode(pair[1])))]

    def claim(self, paths: list[str], token: int, lease: int) -> None:
        assert token > self.last_token
        self.last_token = token
        self.leases[token] = self.now + lease
        for path in paths:
            self.files[path] = replace(self.files[path], state="leased", due=None, token=token)

    def _holds(self, path: str, token: int) -> bool:
        entry = self.files.get(path)
        return entry is not None and entry.state == "leased" and entry.token == token

    def _succeed(self, path: str) -> bool:
        """Registers the file that waited behind this one. Returns False if there is none."""
        behind = self.files.pop(path).behind
        if behind is None:
            return False
        self.files[path] = behind
        self.count("registered")
        return True

    def _drop_empty_claims(self) -> None:
        held = {entry.token for entry in self.files.values() if entry.state == "leased"}
        self.leases = {token: end for token, end in self.leases.items() if token in held}

    def ack(self, token: int, outcomes: dict[str, str]) -> int:
        settled = [path for path in outcomes if self._holds(path, token)]
        for path in settled:
            self.count(outcomes[path])
            self._succeed(path)
        self._drop_empty_claims()
        return len(settled)

    def nack(self, token: int, path: str, delay: int | None, bury: bool, counts: bool, reason: str) -> int:
        if not self._holds(path, token):
            return 0
        entry = self.files[path]
        if self._succeed(path):
            self.count("replaced")
        else:
            back = replace(entry, state="dead" if bury else "waiting", token=0)
            back.due = None if bury else entry.deadline if delay is None else self.now + delay
            back.attempts += counts
            back.error = reason or entry.error
            self.files[path] = back
        self._drop_empty_claims()
        return 1

    def set_aside(self, token: int, path: str, aside: str, grace: int, size: int) -> int:
        if not self._holds(path, token):
            return 0
        entry = self.files[path]
        self._succeed(path)
        due = self.now + grace
        self.files[aside] = Entry(
            "waiting", self.now, due, entry.identity, size, due=due, flags="q", tag=entry.tag
        )
        self._drop_empty_claims()
        return 1

    def reap(self) -> tuple[int, int]:
        recovered = lifted = 0
        for path, entry in list(self.files.items()):
            if entry.state == "leased" and self.leases[entry.token] <= self.now:
                recovered += 1
                if self._succeed(path):
                    self.count("replaced")
                else:
                    self.files[path] = replace(entry, state="waiting", due=entry.deadline, token=0)
            elif entry.state == "held" and entry.due is not None and entry.due <= self.now:
                lifted += 1
                entry.state, entry.due, entry.reason = "waiting", entry.deadline, ""
        self._drop_empty_claims()
        return recovered, lifted

    def revive(self, path: str) -> str:
        entry = self.files.get(path)
        if entry is None or entry.state != "dead":
            return "absent"
        entry.state, entry.due, entry.attempts, entry.error = "waiting", self.now, 0, ""
        return "revived"

    # -- what the state machine reads

    def instants(self) -> list[int]:
        """Returns every future time at which something happens."""
        times = [entry.due for entry in self.files.values() if entry.due is not None]
        return sorted(t for t in [*times, *self.leases.values()] if t > self.now)

    def waiting(self) -> list[str]:
        return self._in("waiting")

    def leased(self) -> list[str]:
        return self._in("leased")

    def held(self) -> list[str]:
        return self._in("held")

    def _in(self, state: str) -> list[str]:
        return sorted(path for path, entry in self.files.items() if entry.state == state)

    def tagged(self) -> tuple[int, int]:
        """
        Returns the number of files with the tag, and their bytes. Files that wait behind a claim count; quarantined
        files do not.
        """
        behind = [entry.behind for entry in self.files.values() if entry.behind is not None]
        sizes = [e.size for e in (*self.files.values(), *behind) if e.tag and not e.is_quarantined]
        return len(sizes), sum(sizes)

    def aside(self) -> tuple[int, int]:
        """Returns the number of quarantined files, and their bytes."""
        sizes = [entry.size for entry in self.files.values() if entry.is_quarantined]
        return len(sizes), sum(sizes)

    def balance(self) -> int:
        left = sum(self.totals.get(name, 0) for name in ("deleted", "missing", "replaced", "released"))
        return self.totals.get("registered", 0) - left - len(self.files)
