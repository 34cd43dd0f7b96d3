"""The order in which each policy evicts files."""

from __future__ import annotations

import pytest

from tempfleet import FileRecord, SettingsError
from tempfleet.capacity.policies import builtin_policies, policy_named
from tempfleet.plugins.specification import Candidate


def candidate(name: str, *, registered: int, size: int, used: int) -> Candidate:
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
        candidate("young", registered=990, size=2, used=1),
        candidate("old", registered=100, size=1, used=9),
        candidate("large", registered=900, size=40, used=2),
        candidate("middle", registered=300, size=30, used=3),
    ]
    scores = builtin_policies()[policy](files)
    ranked = sorted(zip(scores, files, strict=True), key=lambda pair: pair[0])
    assert [file.record.path for _, file in ranked] == order


def test_an_unknown_policy_is_an_error_that_lists_the_policies() -> None:
    with pytest.raises(SettingsError) as error:
        policy_named("least-recently", builtin_policies())
    assert error.value.variable == "TEMP_FILE_EVICTION_POLICY"
    assert str(error.value) == (
        "TEMP_FILE_EVICTION_POLICY='least-recently': must be one of largest, least-recently-used, oldest, size-age; "
        "did you mean least-recently-used?"
    )
