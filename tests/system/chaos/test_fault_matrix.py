"""
The fault matrix, in its short form. fault_matrix.py runs it for as long as you like.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deletion_support import needs_linux
from system.chaos.fault_matrix import Matrix

SECONDS = 4


@needs_linux
@pytest.mark.chaos
def test_no_fault_makes_a_file_go_early_or_wrongly_or_stay_for_ever(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    counts = Matrix(tmp_path, seed, files_a_second=60).run(SECONDS)
    print(counts)
    assert counts.is_clean, str(counts)
    assert counts.faults["killed"] and counts.totals["deleted"] and counts.made["rewritten"]
