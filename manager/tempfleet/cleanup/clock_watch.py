"""
Notices jumps of Redis's clock, and a Redis that has less than it had.

All deadlines are times of Redis's clock. If it jumps ahead, files are due that have time to live. So every process that
cleans up compares how far Redis's clock went with how far the clock of its own host went since the boot:

- Each claim and each reap carries the latest time that Redis can have. Files that are due only by a later time are not
  claimed, whether the jump is noticed already or not.
- A jump is added to the fleet's record, once, by the process that notices it first, and copied to each volume as
  *slack*: from then on deadlines pass so much later. If Redis's clock steps back, the slack shrinks.
- If Redis is older than it was, or is ahead of a host that never saw it before, no file expires for ten minutes.

The comparison uses replies that come anyway. Only if they do not agree, or at the start, Redis is asked once more. A
clock that is slewed, not stepped, stays within the tolerance. Without locks: a sample is one immutable object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import RegistryError
from ..filesystem import Roots
from ..formatting import duration
from ..logs import Trouble, logger, printable
from ..registry import (
    AGAIN_SECONDS,
    UNKNOWN,
    Claim,
    ClockReading,
    Fleet,
    FleetClock,
    Horizon,
    Jumps,
    Registry,
)
from .clock_samples import TOLERANCE_MS, Sample, agree, horizon_after, jump
from .continuity import Continuity, ContinuityFile, record_of
from .host_clock import HostClock
from .outlook import CLAIMS_NOTHING, Outlook

AHEAD_MS = 120_000
"""A Redis that is so far ahead of a host that starts for the first time may have jumped."""

SAVE_EVERY_MS = 10_000
"""How old the continuity record becomes before a process that cleans up replaces it."""

SLOW_MS = 500
TRIES = 3
"""A look at Redis that takes longer is repeated, so many times at most."""


class ClockWatch:
    """Compares the clocks for one volume. Thread-safe; a forked child goes on with what its parent saw."""

    def __init__(self, registry: Registry, roots: Roots, host: HostClock) -> None:
        store = registry.store
        self.registry = registry
        self.host = host
        self.clock = FleetClock(store)
        self.fleet = Fleet(store)
        self.file = ContinuityFile(roots.base, f"{store.server} {store.namespace} {registry.volume}")
        self.trouble = Trouble()
        self._seen: Sample | None = None
        self._known = UNKNOWN
        self._run_id = ""
        self._saved_ms = float("-inf")

    def horizon(self) -> Horizon:
        """What this process knows at this moment. Before ``start`` it does not know the time."""
        return self._horizon(self.host.boot_ms())

    def start(self) -> None:
        """Look at Redis, unless this process already did; raises the errors of Registry."""
        if self._seen is None:
            self.check()

    def claim(self, take: Callable[..., Claim]) -> Claim:
        """Returns the claim that *take* makes, and compares the clocks by it."""
        sent_ms = self.host.boot_ms()
        claim = take(horizon=self._horizon(sent_ms))
        base_dir = printable(self.registry.volume.base_dir)
        if claim.obstacle:
            self.trouble.failed(f"Claims in {base_dir}", RegistryError(CLAIMS_NOTHING % base_dir))
        else:
            self.trouble.works(f"Claims in {base_dir}")
        if self._seen is None:
            return claim
        sample = Sample(claim.now_ms, claim.jumped_ms, sent_ms, self.host.boot_ms())
        if claim.obstacle == "older" or not agree(self._seen, sample):
            try:
                self.check()
            except RegistryError as exc:
                # The claim is settled as usual: its files are due also by the clock of this host.
                logger.warning("Could not compare the clock of Redis: %s", exc)
            return claim
        self._remember(sample, claim.epoch, max(claim.token, self._known.last_token))
        return claim

    def check(self) -> None:
        """Look at Redis, and record a jump or a loss. Raises the errors of Registry."""
        # What is known is read before Redis is: other threads and processes go on claiming.
        before, known = self._seen, self._known
        records = self.file.load() if before is None else []
        reading, sample = self._look()
        if (record := record_of(records, reading.epoch)) is not None:
            known, self._run_id = Horizon(last_token=record.last_token, epoch=record.epoch), record.run_id
            before = self._recall(record, sample)
        self._copy_if_stale(reading)
        if before is None:
            self._check_first(reading)
            before = sample
        self._check_loss(known, reading)
        jumps = self._jumps_after(before, sample, reading.jumps)
        while jumps != reading.jumps and not self._record(reading.jumps, jumps):
            # Another process was faster. Usually it recorded the same jump.
            reading, sample = self._look()
            jumps = self._jumps_after(before, sample, reading.jumps)
        if jumps == reading.jumps:
            self._copy_if_stale(reading)
        else:
            self._publish(before, sample, reading.jumps, jumps)
        self._run_id = reading.run_id
        marked = self.clock.mark(self.registry.volume)
        self._remember(replace(sample, jumped_ms=jumps.jumped_ms), reading.epoch, marked)
        self.save()

    def outlook(self) -> Outlook:
        """What a clean-up that began now would find out; changes nothing. Costs two round trips."""
        before, known = self._seen, self._known
        reading, sample = self._look()
        records = self.file.load() if before is None else []
        if (record := record_of(records, reading.epoch)) is not None:
            known = Horizon(last_token=record.last_token, epoch=record.epoch)
            before = self._recall(record, sample)
        stats = self.registry.stats()
        pause = "" if stats.pause is None else stats.pause.reason
        if not pause and before is None and reading.epoch and self._ahead_ms(reading) > AHEAD_MS:
            pause = "" if stats.paused_lately("ahead", AGAIN_SECONDS) else "ahead"
        jumps = self._jumps_after(before or sample, sample, reading.jumps)
        # A process that runs notices a step back with its first claim, so that this claim is not paused.
        steps_back = before is not None and _went_back_too_far(before, sample, reading.jumps, jumps)
        has_lost = _has_lost(known, reading) and not self._was_forgotten(known)
        if has_lost or (steps_back and self._seen is None):
            pause = "older"
        horizon = horizon_after(before or sample, sample.received_ms, UNKNOWN)
        return Outlook(
            jumps.slack_ms - stats.slack_ms, jumps.jumped_ms - reading.jumps.jumped_ms, pause, horizon
        )

    def save(self, *, create: bool = False) -> None:
        """
        Write the continuity record, if the last one is not fresh.

        Args:
            create: also if there is no private directory yet; only if the base directory is the right one.
        """
        now_ms, seen = self.host.boot_ms(), self._seen
        if seen is None or now_ms - self._saved_ms < SAVE_EVERY_MS:
            return
        if create:
            self.file.create()
        host, known = self.host, self._known
        record = Continuity(seen, host.boot_id, host.wall_ms(), self._run_id, known.epoch, known.last_token)
        if self.file.save(record):
            self._saved_ms = now_ms

    # -- inside

    def _look(self) -> tuple[ClockReading, Sample]:
        """Look at Redis; again if it took long, because a slow reply does not show when Redis looked at its clock."""
        for _ in range(TRIES):
            sent_ms = self.host.boot_ms()
            reading = self.clock.read(self.registry.volume)
            sample = Sample(reading.now_ms, reading.jumps.jumped_ms, sent_ms, self.host.boot_ms())
            if sample.received_ms - sample.sent_ms < SLOW_MS:
                break
        return reading, sample

    def _horizon(self, now_ms: float) -> Horizon:
        return self._known if self._seen is None else horizon_after(self._seen, now_ms, self._known)

    def _remember(self, sample: Sample, epoch: str, last_token: int) -> None:
        if self._seen is None or sample.sent_ms >= self._seen.sent_ms:
            self._seen = sample
        self._known = Horizon(last_token=last_token, epoch=epoch or self._known.epoch)

    def _publish(self, before: Sample, sample: Sample, seen: Jumps, jumps: Jumps) -> None:
        """Copy the record to all volumes. Pause them if Redis stepped back further than it had jumped ahead."""
        volumes = {self.registry.volume, *self.fleet.volumes()}
        self.clock.copy(jumps, volumes)
        if _went_back_too_far(before, sample, seen, jumps):
            self.clock.pause("older", volumes)
        self._saved_ms = float("-inf")

    def _copy_if_stale(self, reading: ClockReading) -> None:
        """The process that records a jump copies it to all volumes, unless it is killed in between."""
        if reading.jumps.seq > reading.copied_seq:
            self.clock.copy(reading.jumps, [self.registry.volume])

    def _recall(self, record: Continuity, sample: Sample) -> Sample | None:
        """What an earlier process of this host saw, by the clock since this boot; None if that proves nothing."""
        if record.boot_id == self.host.boot_id and record.sample.received_ms <= sample.received_ms:
            return record.sample
        return self._recall_after_boot(record, sample)

    def _recall_after_boot(self, record: Continuity, sample: Sample) -> Sample | None:
        """
        By the time of day, which may be wrong, above all after a boot. It proves no jump if it went back, or if another
        host is live: that host has watched Redis's clock by a better one.
        """
        elapsed_ms = self.host.wall_ms() - record.wall_ms
        then_ms = sample.sent_ms - max(elapsed_ms, 0)
        recalled = replace(record.sample, sent_ms=then_ms, received_ms=then_ms)
        if sample.steady_ms < recalled.steady_ms:
            return replace(record.sample, sent_ms=sample.sent_ms, received_ms=sample.received_ms)
        if jump(recalled, sample) > 0 and (
            elapsed_ms < 0 or self.fleet.live_hosts() - {self.registry.volume.host}
        ):
            return None
        return recalled if jump(recalled, sample) > 0 else sample

    def _check_first(self, reading: ClockReading) -> None:
        ahead_ms = self._ahead_ms(reading)
        if ahead_ms > AHEAD_MS and self.clock.pause("ahead", [self.registry.volume]):
            logger.warning(
                "Redis's clock is %s ahead of this host's, and this is the first start here: no file of %s expires for "
                "ten minutes. Then cleaning goes on.",
                duration(ahead_ms / 1000),
                printable(self.registry.volume.base_dir),
            )

    def _ahead_ms(self, reading: ClockReading) -> float:
        return reading.now_ms - reading.jumps.slack_ms - self.host.wall_ms()

    def _check_loss(self, known: Horizon, reading: ClockReading) -> None:
        """Pause if the registry is not what it was, or has lost its last claims."""
        if not _has_lost(known, reading):
            return
        if self._was_forgotten(known):
            self._known, self._saved_ms = UNKNOWN, float("-inf")
            logger.warning(
                "This host was forgotten while it was silent: files in %s have no record any more. tempfleet adopt "
                "registers them again",
                printable(self.registry.volume.base_dir),
            )
        else:
            self.clock.pause("older", [self.registry.volume], last_token=known.last_token)
            self._known, self._saved_ms = UNKNOWN, float("-inf")
            logger.error(
                "Redis has an older registry of %s than before%s: no file is claimed for ten minutes",
                printable(self.registry.volume.base_dir),
                self._restarted(reading),
            )

    def _was_forgotten(self, known: Horizon) -> bool:
        """Whether the registry that is known was erased on purpose; then Redis has lost nothing."""
        return known.epoch != "" and self.fleet.was_erased(known.epoch)

    def _jumps_after(self, before: Sample, sample: Sample, jumps: Jumps) -> Jumps:
        """The record of jumps with the one between two samples."""
        by_ms = jump(before, sample)
        if by_ms == 0:
            return jumps
        slack_ms = jumps.slack_ms + by_ms
        return Jumps(jumps.seq + 1, jumps.jumped_ms + by_ms, slack_ms if slack_ms >= TOLERANCE_MS else 0)

    def _record(self, seen: Jumps, jumps: Jumps) -> bool:
        if not self.clock.change(seen, jumped_ms=jumps.jumped_ms, slack_ms=jumps.slack_ms):
            return False
        by_ms = jumps.jumped_ms - seen.jumped_ms
        logger.error(
            "Redis's clock jumped %s %s. %s",
            "ahead by" if by_ms > 0 else "back by",
            duration(abs(by_ms) / 1000),
            _consequence(jumps.slack_ms),
        )
        return True

    def _restarted(self, reading: ClockReading) -> str:
        return " (its server was restarted or replaced)" if reading.run_id != self._run_id else ""


def _has_lost(known: Horizon, reading: ClockReading) -> bool:
    """Whether the registry is not what it was, or has lost its last claims."""
    return reading.last_token < known.last_token or known.epoch not in ("", reading.epoch)


def _went_back_too_far(before: Sample, sample: Sample, seen: Jumps, jumps: Jumps) -> bool:
    """Whether Redis stepped back further than it had jumped ahead."""
    too_far_ms = seen.jumped_ms - jumps.jumped_ms - seen.slack_ms
    return too_far_ms > TOLERANCE_MS and sample.redis_ms < before.redis_ms


def _consequence(slack_ms: int) -> str:
    if slack_ms == 0:
        return "Its jumps delay no deadline now"
    late = duration(slack_ms / 1000)
    return f"Deadlines pass {late} later now; correct the clock, or run tempfleet clock accept"
