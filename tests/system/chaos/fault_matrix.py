"""
A fault matrix: programs register files in every way while the processes that delete them are killed and stopped, Redis
is killed and started again, and names are exchanged. At the end it counts files that were

- early: deleted before the end of what was promised for them, or not whole until then;
- wrong: not ours to delete, or given back to their user;
- lost: left on the disk, or in a private directory, without a record;
- stuck: still registered although nothing stands against their deletion; counts that do not balance count too.

All four must be 0. Run it for as long as you like; the seed repeats what is done, but not when the faults strike:

    python tests/system/chaos/fault_matrix.py --seconds 300 --seed 7
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1].parent), str(Path(__file__).parent)]

from support import wait_until
from system.chaos.matrix_files import KINDS, Plan, Volume, restore_some, sure
from tempfleet import Settings, State, TempFileManager
from tempfleet.embedded import EmbeddedServer

LEASE = 1.0
SETTINGS: dict[str, object] = {
    "lease_seconds": LEASE,
    "retry_delay_seconds": 0.1,
    "retry_max_delay_seconds": 0.5,
    "batch_size": 20,
    "host": "web-1",
}
QUARANTINE = {"quarantine_seconds": 0.7, "secure_delete": True}
TOTALS = ("registered", "deleted", "missing", "replaced", "rewritten", "recovered", "set_aside")
DRAIN_SECONDS = 60
OWN = ("audit.log", "clock.json", "quarantine.bytes", ".from")
JOURNAL = "note."
"""Files of the private directory that are nobody's. What describes a file in quarantine may outlive it by an hour."""

CLEANER = """
import json, os, random, signal, sys, time
from tempfleet import Settings, TempFileManager, TempfleetError
from tempfleet.deletion import failpoints

def strike(point):
    # Between two steps of a deletion, sometimes kill or stop this process.
    chance = random.random()
    if chance < 0.006:
        os.kill(os.getpid(), signal.SIGKILL if chance < 0.004 else signal.SIGSTOP)

if sys.argv[2] == "strike":
    failpoints.install(strike)
manager = TempFileManager(settings=Settings.load(**json.loads(sys.argv[1])))
while True:
    try:
        manager.cleanup()
        print("ready", flush=True)
    except TempfleetError:
        pass
    time.sleep(0.05)
"""


class Cleaner:
    """A process that cleans one volume, and that is killed and stopped."""

    def __init__(self, settings: dict[str, object], log: Path) -> None:
        self.settings, self.log = settings, log
        self.process: subprocess.Popen[bytes]
        self.goes_on_at = 0.0
        self.start()

    def start(self, mode: str = "strike") -> None:
        with self.log.open("ab") as log:
            self.started_at_byte = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", CLEANER, json.dumps(self.settings), mode],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=log,
                stderr=log,
            )

    @property
    def is_ready(self) -> bool:
        """Whether it has cleaned up since its start."""
        return self.log.stat().st_size > self.started_at_byte

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def tend(self, rng: random.Random) -> str:
        """Start it again if it is dead. Let it go on if it is stopped, often after its lease. Returns what it was."""
        if self.process.poll() is not None:
            self.start()
            return "killed"
        if psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            return ""
        if not self.goes_on_at:
            self.goes_on_at = time.monotonic() + rng.uniform(0.1, 2.5 * LEASE)
            return "stopped"
        if time.monotonic() > self.goes_on_at:
            self.goes_on_at = 0.0
            self.process.send_signal(signal.SIGCONT)
        return ""


@dataclass
class Counts:
    """What went wrong, with the paths."""

    early: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    made: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not (self.early or self.wrong or self.lost or self.stuck)

    def __str__(self) -> str:
        bad = {name: len(getattr(self, name)) for name in ("early", "wrong", "lost", "stuck")}
        lines = [f"  {name}: {path}" for name in bad for path in getattr(self, name)[:20]]
        counts = (("files", self.made), ("faults", self.faults), ("totals", self.totals))
        lines += [f"{name}: {dict(sorted(count.items()))}" for name, count in counts]
        return "\n".join([str(bad), *lines])


class Matrix:
    """The volumes, their cleaners, and what is done to them."""

    def __init__(self, directory: Path, seed: int, files_a_second: int, kinds: Sequence[str] = KINDS) -> None:
        self.rng = random.Random(seed)
        self.directory, self.pause = directory, 1 / files_a_second
        self.redis = EmbeddedServer.start(directory / "redis")
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.counts = Counts()
        self.plans: list[Plan] = []
        self.cleaners: list[Cleaner] = []
        for name, more in (("plain", {}), ("quarantine", QUARANTINE)):
            settings = {
                **SETTINGS,
                **more,
                "base_dir": str(directory / name),
                "redis_url": self.redis.unix_url,
                "audit_log": str(directory / f"{name}-audit.log"),
            }

            def manager(settings: dict[str, object] = settings) -> TempFileManager:
                return TempFileManager(settings=Settings.load(**settings))

            volume = Volume(directory / name, manager(), manager(), manager)
            self.plans.append(Plan(volume, self.rng, self.later, kinds))
            self.plans[-1].add_precious(8)
            self.cleaners += [Cleaner(settings, directory / f"{name}-{n}.log") for n in range(2)]

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (time.monotonic() + seconds, next(self._order), act))

    def run(self, seconds: float) -> Counts:
        """Make files and faults for so many seconds, then let everything end. Returns the counts."""
        end = time.monotonic() + seconds
        try:
            self.later(0.5, self._fault)
            next_file = time.monotonic()
            while time.monotonic() < end or self.agenda:
                if next_file < min(time.monotonic(), end):
                    self.rng.choice(self.plans).make()
                    next_file = max(next_file + self.pause, time.monotonic() - 0.5)
                while self.agenda and self.agenda[0][0] <= time.monotonic():
                    heapq.heappop(self.agenda)[2]()
                if time.monotonic() >= end:
                    self.agenda = [entry for entry in self.agenda if entry[2] != self._fault]
                self._tend()
                self._look()
            self._drain()
            self._count()
        finally:
            for cleaner in self.cleaners:
                cleaner.kill()
            self.redis.stop()
        return self.counts

    def _look(self) -> None:
        for plan in self.plans:
            for file in plan.files:
                if time.time() <= file.until + 1:
                    file.look()

    def _tend(self) -> None:
        for cleaner in self.cleaners:
            if what := cleaner.tend(self.rng):
                self.counts.faults[what] += 1

    # -- faults

    def _fault(self) -> None:
        kinds = (
            self._kill,
            self._kill,
            self._stop,
            self._kill_redis,
            self._restore,
            self._restore,
            self._restore,
        )
        kind = self.rng.choice(kinds)
        kind()
        self.counts.faults[kind.__name__.lstrip("_")] += 1
        self.later(self.rng.uniform(0.05, 0.5), self._fault)

    def _kill(self) -> None:
        self.rng.choice(self.cleaners).kill()

    def _stop(self) -> None:
        self.rng.choice(self.cleaners).stop()

    def _kill_redis(self) -> None:
        if self.rng.random() < 0.5:
            self.redis.kill()
        else:
            self.redis.stop()
        time.sleep(self.rng.uniform(0, 0.1))
        self.redis = EmbeddedServer.start(self.directory / "redis")

    def _restore(self) -> None:
        self.counts.faults["restored"] += restore_some(self.plans[1], self.rng)

    # -- the end

    def _drain(self) -> None:
        """End the holds, start every cleaner anew, and wait until nothing is registered any more."""
        for cleaner in self.cleaners:
            cleaner.kill()
            cleaner.start("calm")
        for plan in self.plans:
            for file in plan.held_for_ever:
                file.look()
                if file.is_early:
                    self.counts.early.append(f"held {file}")
                file.until = 0
                sure(lambda plan=plan, file=file: plan.volume.first.unhold(file.path))  # type: ignore[misc]
        end = time.monotonic() + DRAIN_SECONDS
        self._wait_for_the_end(end)
        # A cleaner looks at its start for what others left, and registers what has no record.
        for cleaner in self.cleaners:
            cleaner.kill()
            cleaner.start("calm")
        wait_until(lambda: all(cleaner.is_ready for cleaner in self.cleaners))
        self._wait_for_the_end(end)

    def _wait_for_the_end(self, end: float) -> None:
        while self._active() and time.monotonic() < end:
            self._look()
            time.sleep(0.05)

    def _active(self) -> int:
        return sum(plan.volume.first.stats().active for plan in self.plans)

    def _count(self) -> None:
        counts = self.counts
        for plan in self.plans:
            self._count_files(plan)
            self._count_records(plan)
            counts.made.update(plan.made)
            stats = plan.volume.first.stats()
            counts.totals.update({total: stats.total(total) for total in TOTALS})

    def _count_files(self, plan: Plan) -> None:
        counts = self.counts
        on_disk = {
            path.read_text(errors="replace"): path
            for path in plan.volume.base.rglob("*")
            if path.is_file() and not path.name.endswith(OWN) and not path.name.startswith(JOURNAL)
        }
        for file in plan.precious:
            place = on_disk.pop(file.content, None)
            if place is None or ".tempfleet-" in str(place):
                counts.wrong.append(f"{file.path} (precious)")
        for file in plan.files:
            if file.damaged or (file.is_early and not file.stays):
                counts.early.append(f"{'damaged ' * file.damaged}{file}")
            place = on_disk.pop(file.content, None)
            if file.stays and place != file.path:
                counts.wrong.append(f"restored {file}, now {place}")
            elif not file.stays and place is not None and (file.is_managed or ".tempfleet-" in str(place)):
                counts.lost.append(f"{place} of {file}")
        counts.lost += [str(path) for path in on_disk.values()]
        counts.lost += [str(path) for path in plan.volume.base.rglob("dir*")]

    def _count_records(self, plan: Plan) -> None:
        manager = plan.volume.first
        self.counts.stuck += [
            f"{record.path} ({record.state}, {record.last_error})" for record in manager.records()
        ]
        self.counts.stuck += [f"{record.path} (dead)" for record in manager.records(state=State.DEAD)]
        self.counts.stuck += [f"audit: {problem}" for problem in manager.registry.audit()]
        if imbalance := manager.stats().imbalance:
            self.counts.stuck.append(f"imbalance {imbalance}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--files-a-second", type=int, default=60)
    parser.add_argument("--kinds", nargs="*", choices=KINDS)
    options = parser.parse_args()
    logging.getLogger("tempfleet").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="matrix-"))
    matrix = Matrix(directory, options.seed, options.files_a_second, options.kinds or KINDS)
    counts = matrix.run(options.seconds)
    print(counts)
    if counts.is_clean:
        shutil.rmtree(directory)
        return 0
    print(f"see {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
