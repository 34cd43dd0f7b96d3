"""The order in which each policy evicts files."""

from __future__ import annotations

import pytest

from tempfleet import FileRecord, SettingsError
from tempfleet.capacity.policies import builtin_policies, policy_named
from tempfleet.plugins.specification import Candidate


def could_go(name: str, *, registered: int, size: int, used: int) -> Candidate:
    record = FileRecord(name, registered_ms=registered, deadline_ms=10_000)
    return Candidate(record, size_bytes=size, files=1, used_ms=used, now_ms=1_000)


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("oldest", ["old", "middle", "large", "young"]),
        ("largest", ["large", "middle", "young", "old"]),
        ("least-recently-used", ["young", "large", "middle", "old"]),
        ("size-age", ["middle", "large", "old", "young"]),  # 700 * 30, 100 * 40, 900 * 1, 10 * 2
    ],
)
def test_each_policy_has_its_order(policy: str, order: list[str]) -> None:
    files = [
        could_go("young", registered=990, size=2, used=1),
        could_go("old", registered=100, size=1, used=9),
        could_go("large", registered=900, size=40, used=2),
        could_go("middle", registered=300, size=30, used=3),
    ]
    scores = builtin_policies()[policy](files)
    ranked = sorted(zip(scores, files, strict=True), key=lambda pair: pair[0])
    assert [candidate.record.path for _, candidate in ranked] == order


def test_a_policy_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError) as refused:
        policy_named("least-recently", builtin_policies())
    assert refused.value.variable == "TEMP_FILE_EVICTION_POLICY"
    assert str(refused.value) == (
        "TEMP_FILE_EVICTION_POLICY='least-recently': must be one of largest, least-recently-used, oldest, size-age; "
        "did you mean least-recently-used?"
    )
