"""How full a disk and the memory are, and how much must be freed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import assert_balanced, entries
from tempfleet import Settings, TempFileManager
from tempfleet.capacity.usage import DiskUsage, Kind, disk_usages
from tempfleet.filesystem.roots import Roots

MakeManager = Callable[..., TempFileManager]


def settings_of(base_dir: Path, **marks: int) -> Settings:
    return Settings(base_dir=str(base_dir), allowed_roots=(str(base_dir), str(base_dir.parent)), **marks)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory on a tmpfs that every system has."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as at:
        yield Path(at)


@given(
    st.integers(0, 10**14),
    st.integers(1, 10**14),
    st.integers(1, 99),
    st.integers(0, 98),
    st.integers(0, 10**6),
)
def test_the_excess_is_the_least_that_leads_down_to_the_low_mark(
    used: int, total: int, above: int, down_to: int, more: int
) -> None:
    usage = DiskUsage("/", 1, Kind.BYTES, min(used, total), total, above, down_to)

    def after(gone: int) -> DiskUsage:
        return DiskUsage("/", 1, Kind.BYTES, usage.used - gone, total, above, down_to)

    assert after(usage.excess).is_low
    assert usage.is_low == (usage.excess == 0)
    if usage.excess:
        assert not after(usage.excess - 1).is_low


def test_without_marks_nothing_is_measured(base_dir: Path) -> None:
    with Roots.open(settings := settings_of(base_dir)) as roots:
        assert disk_usages(roots, settings) == []


def test_a_file_system_is_as_full_as_in_df_and_is_read_once(base_dir: Path) -> None:
    with Roots.open(settings := settings_of(base_dir, evict_above=90)) as roots:
        usages = {usage.kind: usage for usage in disk_usages(roots, settings)}
    assert len(list(roots)) == 2
    assert set(usages) <= {Kind.BYTES, Kind.INODES}
    assert usages[Kind.BYTES].percent == pytest.approx(psutil.disk_usage(str(base_dir)).percent, abs=1)


def test_a_missing_root_is_not_measured(tmp_path: Path) -> None:
    base_dir = tmp_path / "away" / "base"
    with Roots.open(settings := settings_of(base_dir, evict_above=90)) as roots:
        base_dir.rename(tmp_path / "elsewhere")
        (tmp_path / "away").rename(tmp_path / "gone")
        assert disk_usages(roots, settings) == []


def test_memory_is_measured_only_for_files_in_memory(in_memory: Path, tmp_path: Path) -> None:
    for base_dir in (in_memory / "base", tmp_path / "base"):
        with Roots.open(settings := settings_of(base_dir, evict_memory_above=90)) as roots:
            usages = disk_usages(roots, settings)
            assert [usage.kind for usage in usages] == [Kind.MEMORY] * roots.is_in_memory()
            for usage in usages:
                assert usage.percent == pytest.approx(psutil.virtual_memory().percent, abs=5)


def test_when_memory_is_short_the_files_in_it_make_room(in_memory: Path, make_manager: MakeManager) -> None:
    """No machine has all its memory free, so more must be freed than there is: every deletable file is evicted."""
    base = in_memory / "base"
    manager = make_manager(base, allowed_roots=(str(base),), evict_memory_above=1, evict_memory_down_to=0)
    for name in ("a", "held", "b"):
        (base / name).write_bytes(b"x" * 100_000)
        manager.register(base / name)
    manager.hold(base / "held")
    report = manager.evict()
    assert (report.evicted, entries(base)) == (2, ["held"])
    assert report.freed_bytes == 2 * 102_400
    assert report.is_stuck
    assert "of the memory under" in manager.health_check()["warning"]
    assert_balanced(manager)


def test_files_on_a_disk_are_not_evicted_if_memory_is_short(
    make_manager: MakeManager, base_dir: Path
) -> None:
    manager = make_manager(allowed_roots=(str(base_dir),), evict_memory_above=1, evict_memory_down_to=0)
    if manager.roots.is_in_memory():
        pytest.skip("the tests' directory lies in memory")
    (base_dir / "a").write_bytes(b"x")
    manager.register(base_dir / "a")
    assert manager.evict().evicted == 0
