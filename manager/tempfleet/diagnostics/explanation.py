"""
Why a path is there, what will become of it, and when: one answer for people.
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
    Outcome.MISSING: "its record would be dropped, because nothing is there",
    Outcome.REPLACED: "its record would be dropped and the file kept, because it is not the file that was registered",
    Outcome.BUSY: "it would be kept and tried again, because somebody uses it",
    Outcome.REFUSED: "it would be kept for a person to decide, because it may not be deleted",
    Outcome.UNAVAILABLE: "it would be kept, because its root is not here",
    Outcome.FAILED: "it would be kept and tried again, because the system refuses",
}

CONDITION: dict[State | None, str] = {
    State.DEAD: "Were it retried now",
    State.HELD: "The hold keeps it; without it, and due now",
}
"""What must be so for the verdict to come about, where that is not the deadline alone."""

BY_REASON = {
    QUARANTINE: "it would be set aside for its grace period, in which tempfleet restore brings it back",
    NOT_CREATED: "it would be kept and tried again, because whoever registered it may be making it at this moment",
    "in-use-unknown": "it would be kept and tried again, because the system does not tell whether somebody uses it",
}

BY_PLUGIN = {
    VETO: "it would be kept and asked about again, because the plug-in {} wants it kept",
    FAILED: "it would be kept and tried again, because the plug-in {} fails (tempfleet plugins)",
}


def _would_be(verdict: Deletion) -> str:
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
        record: what is registered of *path*, None for nothing.
        verdict: what a clean-up would do to it now, were it due.
        aside: files from *path* that wait in quarantine and can be restored.
    """

    path: str
    now_ms: int
    record: FileRecord | None
    verdict: Deletion | None
    aside: Sequence[QuarantinedFile] = ()

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> list[str]:
        """For people, one thing each."""
        name, record, verdict = printable(self.path), self.record, self.verdict
        if record is None or verdict is None:
            said = [f"{name} is not registered: nothing will happen to it."]
        else:
            said = [f"{name} {self._when(record)}."]
            said.append(f"{CONDITION.get(record.state, 'Were it due now')}, {_would_be(verdict)}.")
            if record.is_compressed:
                said.append(
                    "It is compressed: manager.open reads it, tempfleet decompress makes it plain again."
                )
            if record.attempts:
                said.append(
                    f"It was tried {_times(record.attempts)}; the last error was {in_words(record.last_error)}."
                )
            for reason in dict.fromkeys((verdict.reason, record.last_error)):
                said += [todo] if (todo := meaning_of(reason).todo) else []
        said += [
            "A file from there is in quarantine; tempfleet restore brings it back." for _ in self.aside[:1]
        ]
        return said

    def as_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "path": self.path,
            "record": None if self.record is None else self.record.as_dict(),
            "if_due": None
            if verdict is None
            else {"outcome": verdict.outcome, "way": verdict.way, "reason": verdict.reason},
            "quarantined": [one.aside_path for one in self.aside],
        }

    def _when(self, record: FileRecord) -> str:
        if record.state is State.LEASED:
            return "is being deleted at this moment"
        if record.state is State.DEAD:
            return "could not be deleted, and waits for a person (tempfleet dead retry, or dead forget)"
        if record.state is State.HELD:
            span = "until somebody ends it" if record.due_ms is None else f"for {self._in(record.due_ms)}"
            why = f", because: {printable(record.hold_reason)}" if record.hold_reason else ""
            return f"is held {span}{why}"
        ahead = (record.due_ms or 0) - self.now_ms
        return "is due" if ahead <= 0 else f"is due in {self._in(record.due_ms or 0)}"

    def _in(self, then_ms: int) -> str:
        return duration(max(then_ms - self.now_ms, 0) / 1000)


def _times(attempts: int) -> str:
    return "once" if attempts == 1 else counted(attempts, "time")
