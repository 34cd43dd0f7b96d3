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
from ..records import Deletion, FileRecord, Outcome, State

IF_DUE = {
    Outcome.DELETED: "it would be deleted",
    Outcome.MISSING: "its record would be dropped, because the file is missing",
    Outcome.REPLACED: "its record would be dropped and the file kept, because it is not the registered file",
    Outcome.BUSY: "it would be kept and retried, because a process uses it",
    Outcome.REFUSED: "it would be kept as a dead letter, because it may not be deleted",
    Outcome.UNAVAILABLE: "it would be kept, because its root is not available",
    Outcome.FAILED: "it would be kept and retried, because the system refuses the deletion",
}

CONDITION: dict[State | None, str] = {
    State.DEAD: "If it were retried now",
    State.HELD: "The hold keeps it. If it were due now without the hold",
}
"""The condition of the preview, in the states in which it is not only the deadline."""

BY_REASON = {
    QUARANTINE: "it would be quarantined, so that tempfleet restore can bring it back",
    NOT_CREATED: "it would be kept and retried, because its program may still be creating it",
    "in-use-unknown": "it would be kept and retried, because it is unknown whether a process uses it",
}

BY_PLUGIN = {
    VETO: "it would be kept and retried, because the plug-in {} wants it kept",
    FAILED: "it would be kept and retried, because the plug-in {} fails (tempfleet plugins)",
}


def _describe(verdict: Deletion) -> str:
    if verdict.reason in BY_REASON:
        return BY_REASON[verdict.reason]
    kind, _, plugin = verdict.reason.partition(":")
    if kind in BY_PLUGIN:
        return BY_PLUGIN[kind].format(plugin)
    return IF_DUE[verdict.outcome] + (f" ({in_words(verdict.reason)})" if verdict.reason else "")


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    Attributes:
        record: the record of *path*, None if there is none.
        verdict: what a clean-up would do now if the file were due.
        aside: quarantined files that had this path and can be restored.
    """

    path: str
    now_ms: int
    record: FileRecord | None
    verdict: Deletion | None
    aside: Sequence[QuarantinedFile] = ()

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> list[str]:
        """Sentences for people, one fact each."""
        name, record, verdict = printable(self.path), self.record, self.verdict
        if record is None or verdict is None:
            sentences = [f"{name} is not registered, so nothing will happen to it."]
        else:
            sentences = [f"{name} {self._describe_state(record)}."]
            sentences.append(f"{CONDITION.get(record.state, 'If it were due now')}, {_describe(verdict)}.")
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
        if self.aside:
            sentences.append("A file that had this path is in quarantine; tempfleet restore brings it back.")
        return sentences

    def as_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "path": self.path,
            "record": None if self.record is None else self.record.as_dict(),
            "if_due": None
            if verdict is None
            else {"outcome": verdict.outcome, "way": verdict.way, "reason": verdict.reason},
            "quarantined": [file.aside_path for file in self.aside],
        }

    def _describe_state(self, record: FileRecord) -> str:
        if record.state is State.LEASED:
            return "is being deleted at this moment"
        if record.state is State.DEAD:
            return "could not be deleted and is a dead letter (tempfleet dead retry, or dead forget)"
        if record.state is State.HELD:
            span = "until tempfleet unhold" if record.due_ms is None else f"for {self._in(record.due_ms)}"
            why = f", because: {printable(record.hold_reason)}" if record.hold_reason else ""
            return f"is held {span}{why}"
        ahead = (record.due_ms or 0) - self.now_ms
        return "is due" if ahead <= 0 else f"is due in {self._in(record.due_ms or 0)}"

    def _in(self, then_ms: int) -> str:
        return duration(max(then_ms - self.now_ms, 0) / 1000)


def _times(attempts: int) -> str:
    return "once" if attempts == 1 else counted(attempts, "time")
