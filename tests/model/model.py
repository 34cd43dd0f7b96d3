"""
The registry as a plain dictionary: the meaning of each move, written a second time and as simply as possible.

It has no Redis, no scores and no scripts. The state machine compares it with the real registry after every step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

NEVER = 1 << 62


@dataclass
class Entry:
    state: str
    registered: int
    deadline: int
    identity: str
    size: int
    # The time of the next try of a waiting file. None means never.
    next_try: int | None = None
    attempts: int = 0
    error: str = ""
    token: int = 0
    behind: Entry | None = None
    # name -> (end or None for never, reason)
    keepers: dict[str, tuple[int | None, str]] = field(default_factory=dict)
    flags: str = ""
    tag: bool = False
    shared: bool = False

    @property
    def is_quarantined(self) -> bool:
        return "q" in self.flags

    @property
    def longest(self) -> tuple[int | None, str]:
        """Returns the end and the reason of the keeper that lasts longest, by name the first of several."""
        keepers = [self.keepers[name] for name in sorted(self.keepers)]
        return max(keepers, key=lambda keeper: NEVER if keeper[0] is None else keeper[0])

    @property
    def due(self) -> int | None:
        """Returns the time of the next try, or the end of the last keeper."""
        return self.longest[0] if self.keepers else self.next_try

    @property
    def reason(self) -> str:
        return self.longest[1] if self.keepers else ""

    @property
    def is_being_deleted(self) -> bool:
        return self.state == "leased" or "b" in self.flags

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
    # path -> the entry that was unregistered, and when its trace ends; None is never
    traces: dict[str, tuple[Entry, int | None]] = field(default_factory=dict)
    # how often Redis lost its data
    losses: int = 0
    highest_token_ever: int = 0

    def count(self, total: str, amount: int = 1) -> None:
        self.totals[total] = self.totals.get(total, 0) + amount

    # -- moves

    def register(
        self, path: str, ttl: int, identity: str, size: int, *, tag: bool = False, own: int | None = None
    ) -> str:
        fresh = Entry("waiting", self.now, self.now + ttl, identity, size, next_try=self.now + ttl, tag=tag)
        old = self.files.get(path)
        if old is None:
            self.files[path] = fresh
            self.count("registered")
            former, ends = self.traces.get(path, (None, None))
            if former and former.is_one_of(identity) and (ends is None or ends > self.now):
                fresh.shared = former.shared or own != former.registered
                del self.traces[path]
            return "new"
        same = old.is_one_of(identity)
        if old.state == "leased":
            if not same:
                self._unite(old.behind, fresh, own)
                old.behind = fresh
            return "claimed" if same else "behind"
        if same and old.is_being_deleted:
            return "claimed"
        self._unite(old, fresh, own)
        if old.state == "held":
            fresh.state, fresh.keepers = "held", old.keepers
        self.files[path] = fresh
        return "again" if same else "swapped"

    def _unite(self, old: Entry | None, fresh: Entry, own: int | None) -> None:
        """Gives *fresh* what earlier registrations of the same file added, and marks it if there are several."""
        if old is None:
            return
        same = old.is_one_of(fresh.identity)
        fresh.shared = own != old.registered and (same or old.registered == fresh.registered)
        if same:
            fresh.identity, fresh.flags = old.identity, old.flags.replace("i", "")
            fresh.shared |= old.shared
            fresh.tag |= old.tag
            fresh.deadline = fresh.next_try = max(fresh.deadline, old.deadline)

    def renew(self, path: str, ttl: int, own: int | None) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.is_being_deleted:
            return "claimed"
        entry.shared |= own != entry.registered
        entry.deadline = max(entry.deadline, self.now + ttl)
        if entry.state == "waiting":
            entry.next_try = max(entry.next_try or 0, entry.deadline)
        return "renewed"

    def hold(self, path: str, ms: int | None, reason: str, name: str, instead: str, own: int | None) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.is_being_deleted:
            return "claimed"
        entry.shared |= own != entry.registered
        end = None if ms is None else self.now + ms
        old_end, old_reason = entry.keepers.get(name, (0, ""))
        if old_end is not None and old_end <= self.now:
            old_reason = ""
        if end is None or (old_end is not None and end >= old_end):
            entry.keepers[name] = (end, reason or old_reason)
        if instead != name:
            entry.keepers.pop(instead, None)
        entry.state = "held"
        return "kept"

    def unhold(self, path: str, name: str, *, due_now: bool) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.keepers.pop(name, None) is None:
            return "unkept"
        if not entry.keepers:
            if due_now and not entry.shared:
                entry.deadline = min(entry.deadline, self.now)
            entry.state, entry.next_try = "waiting", entry.deadline
        return "dropped"

    def extend_keeper(self, path: str, name: str, ms: int) -> bool:
        """Returns False if there is no such keeper."""
        entry = self.files.get(path)
        if entry is None or name not in entry.keepers:
            return False
        end, reason = entry.keepers[name]
        entry.keepers[name] = (None if end is None else max(end, self.now + ms), reason)
        return True

    def unregister(self, path: str, own: int | None) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.is_being_deleted and entry.state != "dead":
            return "claimed"
        if "z" in entry.flags and "q" not in entry.flags:
            return "compressed"
        del self.files[path]
        self.count("released")
        never_ends = path in self.traces and self.traces[path][1] is None
        if set(entry.flags) & {"r", "b"}:
            self.traces[path] = entry, None
        elif not never_ends and entry.deadline > self.now and (entry.shared or own != entry.registered):
            self.traces[path] = entry, entry.deadline
        return "released"

    def forget(self, path: str, until: int, *, everything: bool) -> str:
        entry = self.files.get(path)
        if entry is None:
            return "absent"
        if entry.state == "leased":
            return "leased"
        if until <= entry.registered <= self.now:
            return "newer"
        if entry.keepers and not everything:
            return "held"
        if entry.is_quarantined and not everything:
            return "quarantined"
        del self.files[path]
        self.count("forgotten")
        return "forgotten"

    def amend(self, path: str, expected: str, identity: str, marks: str, size: int | None) -> bool:
        entry = self.files.get(path)
        if entry is None or entry.identity != expected:
            return False
        if "b" in entry.flags or (entry.state == "leased" and "+" not in expected):
            return False
        entry.identity, entry.flags = identity, marks + ("r" if "r" in entry.flags else "")
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
        assert token > self.highest_token_ever >= self.last_token
        self.last_token = self.highest_token_ever = token
        self.leases[token] = self.now + lease
        for path in paths:
            self.files[path] = replace(self.files[path], state="leased", next_try=None, token=token)

    def begin(self, token: int, path: str) -> bool:
        if not self._holds(path, token) or self.leases[token] <= self.now:
            return False
        entry = self.files[path]
        entry.flags += "" if "b" in entry.flags else "b"
        return True

    def own(self, files: dict[str, int]) -> list[str]:
        """Returns the files of one registrant that the end of its block deletes."""
        entries = [(path, registered, self.files.get(path)) for path, registered in files.items()]
        return [
            path
            for path, registered, entry in entries
            if entry is not None
            and (entry.state, entry.registered, entry.shared) == ("waiting", registered, False)
        ]

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
            back.next_try = None if bury else entry.deadline if delay is None else self.now + delay
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
            "waiting", self.now, due, entry.identity, size, next_try=due, flags="q", tag=entry.tag
        )
        self._drop_empty_claims()
        return 1

    def rewrite(self, token: int, path: str, age: int, size: int, identity: str) -> int:
        if not self._holds(path, token):
            return 0
        old = self.files[path]
        if self._succeed(path):
            self.count("replaced")
        else:
            began = max(self.now - age, old.registered)
            ends = began + old.deadline - old.registered
            # What is about the old object only does not go over.
            flags = "".join(flag for flag in old.flags if flag not in "bimruz")
            self.files[path] = Entry(
                "waiting", began, ends, identity, size, next_try=ends, flags=flags, tag=old.tag
            )
            self.files[path].shared = old.shared
            self.count("rewritten")
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
                    flags = entry.flags if "r" in entry.flags else entry.flags + "r"
                    self.files[path] = replace(
                        entry, state="waiting", next_try=entry.deadline, token=0, flags=flags
                    )
            elif entry.state == "held":
                entry.keepers = {
                    name: (end, reason)
                    for name, (end, reason) in entry.keepers.items()
                    if end is None or end > self.now
                }
                if not entry.keepers:
                    lifted += 1
                    entry.state, entry.next_try = "waiting", entry.deadline
        self._drop_empty_claims()
        return recovered, lifted

    def lose_everything(self) -> None:
        self.files, self.leases, self.totals, self.last_token, self.traces = {}, {}, {}, 0, {}
        self.losses += 1

    def is_older(self, losses: int | None, last_token: int) -> bool:
        """Returns whether Redis has less than a process knows that saw this; None is a process that saw no epoch."""
        return self.last_token < last_token or losses not in (None, self.losses)

    def revive(self, path: str) -> str:
        entry = self.files.get(path)
        if entry is None or entry.state != "dead":
            return "absent"
        entry.state, entry.next_try, entry.attempts, entry.error = "waiting", self.now, 0, ""
        return "revived"

    # -- what the state machine reads

    def inside(self, path: str) -> tuple[str, int | None] | None:
        """Returns what the record of a file in a directory says about deleting the directory, and until when."""
        entry = self.files.get(path)
        if entry is None:
            return None
        if entry.state == "waiting":
            return "due" if (entry.due or 0) <= self.now else "promised", entry.due
        if entry.state == "leased":
            return "claimed", None
        if entry.state == "held" and (entry.due is None or entry.due > self.now):
            return "held", None if entry.due is None else max(entry.due, entry.deadline)
        if entry.deadline > self.now:
            return "promised", entry.deadline
        return "dead" if entry.state == "dead" else "ended", None

    def instants(self) -> list[int]:
        """Returns every future time at which something happens."""
        times = [entry.next_try for entry in self.files.values() if entry.next_try is not None]
        times += [
            end for entry in self.files.values() for end, _ in entry.keepers.values() if end is not None
        ]
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
        left = sum(
            self.totals.get(name, 0) for name in ("deleted", "missing", "replaced", "released", "forgotten")
        )
        return self.totals.get("registered", 0) - left - len(self.files)
