"""
What happens to a path, when and why: one answer for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..cleanup import NOT_CREATED
from ..deletion import QUARANTINE, QuarantinedFile
from ..filesystem import in_words, meaning_of
from ..formatting import counted, duration
from ..logs import printable
from ..plugins import FAILED, VETO
from ..records import Deletion, FileRecord, Keeper, Outcome, State
from .problem import Problem

MOST_HOLDS = 20
"""The holds of a file that are listed one by one."""

BY_OUTCOME = {
    Outcome.DELETED: "it {will} be deleted",
    Outcome.MISSING: "its record {will} be dropped, because the file is missing",
    Outcome.REPLACED: "its record {will} be dropped and the file kept, because it is not the registered file",
    Outcome.REWRITTEN: "it {will} be kept and expire later, because it was rewritten since it was registered",
    Outcome.BUSY: "it {will} be kept and retried, because a process uses it",
    Outcome.REFUSED: "it {will} be kept as a dead letter, because it may not be deleted",
    Outcome.UNAVAILABLE: "it {will} be kept, because its root is not available",
    Outcome.FAILED: "it {will} be kept and retried, because the system refuses the deletion",
}

NEXT = "At the next clean-up"
PAUSED = (
    "No expired file is deleted for some minutes, because of Redis's clock or data (tempfleet doctor). Then"
)

CONDITION: dict[State | None, str] = {
    State.DEAD: "If it were retried now",
    State.HELD: "The hold keeps it. If it were due now without the hold",
}
"""The condition of the preview for files that are not due, in the states in which it is not only the deadline."""

BY_REASON = {
    QUARANTINE: "it {will} be quarantined, so that tempfleet restore can bring it back",
    NOT_CREATED: "it {will} be kept and retried, because its program may still be creating it",
    "in-use-unknown": "it {will} be kept and retried, because it is unknown whether a process uses it",
}

BY_PLUGIN = {
    VETO: "it {will} be kept and retried, because the plug-in {plugin} wants it kept",
    FAILED: "it {will} be kept and retried, because the plug-in {plugin} fails (tempfleet plugins)",
}


def _describe(verdict: Deletion, will: str) -> str:
    """What a clean-up does; *will* is the auxiliary verb."""
    if verdict.reason in BY_REASON:
        return BY_REASON[verdict.reason].format(will=will)
    kind, _, plugin = verdict.reason.partition(":")
    if kind in BY_PLUGIN:
        return BY_PLUGIN[kind].format(will=will, plugin=plugin)
    if verdict.obstacle is not None:
        where = printable(verdict.obstacle.path)
        return f"it {will} be kept and retried, because of {where} ({in_words(verdict.reason)})"
    cause = f" ({in_words(verdict.reason)})" if verdict.reason else ""
    return BY_OUTCOME[verdict.outcome].format(will=will) + cause


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    Attributes:
        record: the record of *path*, None if there is none.
        verdict: what a clean-up would do now if the file were due.
        aside: quarantined files that had this path and can be restored.
        aside_records: their records, in the same order; None if a record is lost.
        keepers: the holds of *path*, sorted by name.
        is_paused: no expired file is deleted now, because of Redis's clock or data.
        problems: what keeps the expired files of this volume, for example that no worker runs. Without a record, the
            other volumes that have one.
    """

    path: str
    now_ms: int
    record: FileRecord | None
    verdict: Deletion | None
    aside: Sequence[QuarantinedFile] = ()
    aside_records: Sequence[FileRecord | None] = ()
    keepers: Sequence[Keeper] = ()
    is_paused: bool = False
    problems: Sequence[Problem] = ()

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> list[str]:
        """Sentences for people, one fact each."""
        name, record, verdict = printable(self.path), self.record, self.verdict
        if record is None or verdict is None:
            where = " here" if self.problems else ", so nothing will happen to it"
            sentences = [] if self.aside else [f"{name} is not registered{where}."]
            sentences += map(str, self.problems)
        else:
            state = f"{name} {self._describe_state(record)}."
            sentences = [state, *self._holds(), self._preview(record, verdict)]
            if record.is_compressed:
                sentences.append(
                    "It is compressed: manager.open reads it, and tempfleet decompress decompresses it."
                )
            if record.attempts:
                sentences.append(
                    f"It was tried {_times(record.attempts)}; the last error was {in_words(record.last_error)}."
                )
            for reason in dict.fromkeys((verdict.reason, record.last_error)):
                sentences += [todo] if (todo := meaning_of(reason).todo) else []
            if record.state is not State.DEAD:
                sentences += map(str, self.problems)
        return sentences + self._quarantine_sentences()

    def as_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "path": self.path,
            "record": None if self.record is None else self.record.as_dict(),
            "if_due": None
            if verdict is None
            else {
                "outcome": verdict.outcome,
                "way": verdict.way,
                "reason": verdict.reason,
                "inside": verdict.obstacle.path if verdict.obstacle else None,
            },
            "quarantined": [file.aside_path for file in self.aside],
            "holds": [keeper.as_dict() for keeper in self.keepers],
            "problems": [problem.as_dict() for problem in self.problems],
        }

    def _describe_state(self, record: FileRecord) -> str:
        if record.state is State.LEASED:
            return "is being deleted at this moment"
        if record.state is State.DEAD:
            return "could not be deleted and is a dead letter (tempfleet dead retry, or dead forget)"
        if record.has_ended_hold(self.now_ms):
            return f"was held; the hold has ended, and it {self._describe_deadline(record.expires_ms)}"
        if record.state is State.HELD:
            return f"is held {self._span(record.due_ms, record.hold_reason)}"
        return self._describe_deadline(record.due_ms or 0)

    def _span(self, ends_ms: int | None, reason: str) -> str:
        span = "until tempfleet unhold" if ends_ms is None else f"for {self._in(ends_ms)}"
        return span + (f", because: {printable(reason)}" if reason else "")

    def _holds(self) -> list[str]:
        """Who holds the file; with several holds, until when and why. Holds that have ended are not listed."""
        slack_ms = self.record.slack_ms if self.record is not None else 0
        holds = [
            (name, reason, None if ends_ms is None else ends_ms + slack_ms)
            for name, reason, ends_ms in self.keepers
            if ends_ms is None or ends_ms + slack_ms > self.now_ms
        ]
        if len(self.keepers) == 1:
            return [f"Held by: {printable(name)}." for name, _, _ in holds]
        sentences = [
            f"Held by: {printable(name)}, {self._span(ends_ms, reason)}."
            for name, reason, ends_ms in holds[:MOST_HOLDS]
        ]
        more = len(holds) - MOST_HOLDS
        return sentences + ([f"It has {counted(more, 'more hold')}."] if more > 0 else [])

    def _describe_deadline(self, due_ms: int) -> str:
        return "is due" if due_ms <= self.now_ms else f"is due in {self._in(due_ms)}"

    def _preview(self, record: FileRecord, verdict: Deletion) -> str:
        """What the next clean-up will do to a due file, or would do to another one."""
        has_ended_hold = record.has_ended_hold(self.now_ms)
        due_ms = record.expires_ms if has_ended_hold else record.due_ms or 0
        if (has_ended_hold or record.state is State.WAITING) and due_ms <= self.now_ms:
            return f"{PAUSED if self.is_paused else NEXT} {_describe(verdict, 'will')}."
        state = State.WAITING if has_ended_hold else record.state
        return f"{CONDITION.get(state, 'If it were due now')}, {_describe(verdict, 'would')}."

    def _quarantine_sentences(self) -> list[str]:
        is_alone = self.record is None and len(self.aside) == 1
        subject = printable(self.path) if is_alone else "A file that had this path"
        return [
            f"{subject} is in quarantine{self._end_of_quarantine(record)}; tempfleet restore brings it back."
            for record in self.aside_records
        ]

    def _end_of_quarantine(self, record: FileRecord | None) -> str:
        if record is None or record.state is not State.WAITING or record.due_ms is None:
            return ""
        if record.due_ms <= self.now_ms:
            return f" and will be deleted {'later' if self.is_paused else 'at the next clean-up'}"
        return f" and will be deleted in {self._in(record.due_ms)}"

    def _in(self, then_ms: int) -> str:
        return duration(max(then_ms - self.now_ms, 0) / 1000)


def _times(attempts: int) -> str:
    return "once" if attempts == 1 else counted(attempts, "time")
