"""
The threads that delete the files of one batch.

Each thread has files of one root only. If all files are on one local disk, the thread of the batch is one of them. On a
file system that may stop answering, and if there are several roots, all are threads of their own. Those that hang there
are left alone: until the last of them returns, nothing else is begun in that root (filesystem/bounded.py). File systems
that may stop answering come last, so no other root waits for them, and the batch ends as usual.
"""

from __future__ import annotations

import _thread
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..filesystem import LOOK_SECONDS, Root, Roots
from ..records import FileRecord
from ..threads import SignalSafeCall
from .batch import Batch, Budget, Lease, contents_first
from .host_clock import boot_seconds

SIGNAL_SECONDS = 0.05
"""
How often a waiting thread wakes up. The system may deliver a signal to any thread, but Python runs its handler in the
main thread. Leases are extended this often at most.
"""

TREE_SHARE = 0.25
"""The share of the remaining time that one directory may take, so that all others, and other batches, get theirs."""

Delete = Callable[[Sequence[FileRecord], Callable[[], bool], Callable[[], float]], None]
Late = Callable[[str], None]
Chunks = Callable[[Sequence[FileRecord]], Iterator[Sequence[FileRecord]]]


class DeletionThread:
    """
    Attributes:
        is_left: it hangs, and nobody waits for it any more.
        at: the path of the file at which it hangs; "" if all of its files are done.
    """

    def __init__(
        self, root: Root, records: Sequence[FileRecord], work: Callable[[], None], late: Late
    ) -> None:
        self.root = root
        self.records = records
        self.is_left, self.at = False, ""
        self.call = SignalSafeCall(self._run)
        self._work = work
        self._late = late
        self._end = _thread.allocate_lock()  # the thread has it, or whoever leaves the thread

    def leave(self, at: str) -> None:
        """Do not wait any longer. If the thread goes on one day, *late* settles the file *at* which it hangs."""
        self.at = at
        self.is_left = self._end.acquire(blocking=False)
        if self.is_left:
            self.root.calls.leave(self.call)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            if not self._end.acquire(blocking=False) and self.at:
                self._late(self.at)


class DeletionThreads:
    """
    The threads of one batch.

    Args:
        delete: deletes records as long as ``may_go_on``, and each directory for ``tree_seconds`` at most.
        late: settles a file after its thread hung.

    Attributes:
        widest: the most threads that ran at once.
    """

    def __init__(
        self, batch: Batch, lease: Lease, budget: Budget, roots: Roots, delete: Delete, late: Late
    ) -> None:
        self.batch, self.lease = batch, lease
        self.end, self.is_stopped = budget.end, budget.is_stopped
        self.roots = roots
        self.delete, self.late = delete, late
        self.threads: list[DeletionThread] = []
        self.widest = 0

    def may_go_on(self) -> bool:
        """Called twice for each file, so it reads one clock."""
        now = self.batch.progress = boot_seconds()
        ended = self.batch.is_halted or self.roots.is_closed or self.is_stopped()
        return now < self.lease.end and now < self.end and not ended

    def tree_seconds(self) -> float:
        """How long the next directory may take."""
        if self.end == math.inf:
            return math.inf
        return (min(self.lease.end, self.end) - boot_seconds()) * TREE_SHARE

    def run(self, records: Sequence[FileRecord], chunks: Chunks) -> None:
        """Delete *records*, one root after the other, and the contents of directories first."""
        self.batch.progress, self.batch.is_deleting = boot_seconds(), True
        by_root = self._by_root(records)
        is_apart = len(by_root) > 1
        for root, records_there in by_root:
            for group in contents_first(records_there):
                threads = [self._thread(root, chunk) for chunk in chunks(group)]
                self.threads += threads
                self.widest = max(self.widest, len(threads))
                # The thread of the batch does the first chunk, so one chunk needs no other thread; but no other root
                # may wait for it.
                own, others = ([], threads) if is_apart or root.calls.may_hang else (threads[:1], threads[1:])
                for thread in others:
                    thread.call.start()
                self.batch.root = root
                for thread in own:
                    thread.call.run()
                self.batch.root = None
                for thread in others:
                    self._wait(thread)

    def stop(self) -> None:
        """Let no thread begin another file, and wait for all of them, except those that hang."""
        self.batch.is_halted = True
        for thread in self.threads:
            thread.call.call_off()
            self._wait(thread)
        self.batch.is_deleting = False

    def raise_failure(self) -> None:
        for thread in self.threads:
            if thread.call.failure is not None:
                raise thread.call.failure

    @property
    def hanging(self) -> set[str]:
        """The files at which threads hang. What becomes of them is not known."""
        return {thread.at for thread in self.threads if thread.is_left and thread.at}

    def _thread(self, root: Root, chunk: Sequence[FileRecord]) -> DeletionThread:
        def may_go_on() -> bool:
            # The files of a thread that was left are handed back, except the one at hand.
            return not thread.is_left and self.may_go_on()

        work = partial(self.delete, chunk, may_go_on, self.tree_seconds)
        return (thread := DeletionThread(root, chunk, work, self.late))

    def _wait(self, thread: DeletionThread) -> None:
        """Wait for the end of *thread*, as long as its root answers; without progress, for STUCK_SECONDS."""
        looked = boot_seconds()
        while not (thread.is_left or thread.call.wait(SIGNAL_SECONDS)):
            if boot_seconds() - max(looked, self.batch.progress) < LOOK_SECONDS:
                continue
            if not thread.root.calls.answers() or self.batch.is_stuck:
                done = self.batch.paths_done()
                thread.leave(next((record.path for record in thread.records if record.path not in done), ""))
            looked = boot_seconds()

    def _by_root(self, records: Sequence[FileRecord]) -> Sequence[tuple[Root, Sequence[FileRecord]]]:
        """Files outside of all roots go with the base directory: they are not touched."""
        first = next(iter(self.roots))
        prefix = first.prefix
        if all([record.path.startswith(prefix) for record in records]):  # a list is faster here
            return [(first, records)]
        by_root: dict[Root, list[FileRecord]] = {}
        for record in records:
            by_root.setdefault(self.roots.find(record.path) or self.roots.base, []).append(record)
        return sorted(by_root.items(), key=lambda item: item[0].calls.may_hang)
