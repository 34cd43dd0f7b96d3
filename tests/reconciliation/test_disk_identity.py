"""Nothing is claimed on a disk other than the one that the records were made for."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from conftest import MakeManager
from deletion_support import file_system, needs_linux, needs_root
from tempfleet import VolumeUnavailable
from tempfleet.testing import FakeClock


@pytest.fixture
def lasting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base directory that is not below the system's temp directory, so that it is expected to last."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "mnt" / "base"


def test_nothing_is_claimed_in_a_new_directory_until_a_person_accepts_it(
    make_manager: MakeManager, clock: FakeClock, lasting: Path
) -> None:
    manager = make_manager(lasting)
    (lasting / "a").write_text("on the disk")
    manager.register(lasting / "a", ttl=5)
    assert manager.cleanup() == 0
    os.rename(lasting.parent, lasting.parent.with_name("unmounted"))
    clock.advance(6)

    other = make_manager(lasting)
    with pytest.raises(VolumeUnavailable, match="accept-disk"):
        other.cleanup()
    with pytest.raises(VolumeUnavailable):
        list(other.preview())
    explained = other.explain(lasting / "a")
    assert explained.verdict is not None
    assert (explained.verdict.outcome, explained.verdict.reason) == ("unavailable", "another-disk")
    assert other.health_check()["status"] == "unhealthy"
    assert (other.stats().waiting, other.stats().total("missing")) == (1, 0)

    os.rename(lasting.parent, lasting.parent.with_name("wrong"))
    os.rename(lasting.parent.with_name("unmounted"), lasting.parent)
    back = make_manager(lasting)
    assert back.cleanup() == 1
    assert not (lasting / "a").exists()


def test_a_person_may_accept_the_directory_as_it_is(
    make_manager: MakeManager, clock: FakeClock, lasting: Path
) -> None:
    manager = make_manager(lasting)
    (lasting / "a").write_text("gone with the disk")
    manager.register(lasting / "a", ttl=5)
    manager.cleanup()
    os.rename(lasting, lasting.with_name("old"))
    clock.advance(6)
    other = make_manager(lasting)
    other.accept_disk()
    assert other.cleanup() == 0
    assert (other.stats().total("missing"), other.health_check()["status"]) == (1, "healthy")


def test_an_empty_registry_accepts_any_directory(make_manager: MakeManager, lasting: Path) -> None:
    make_manager(lasting).cleanup()
    os.rename(lasting, lasting.with_name("old"))
    assert make_manager(lasting).cleanup() == 0


def test_a_directory_below_the_systems_temp_directory_may_be_created_anew(
    make_manager: MakeManager,
    clock: FakeClock,
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    manager = make_manager()
    (base_dir / "a").write_text("gone at the reboot")
    manager.register(base_dir / "a", ttl=5)
    manager.cleanup()
    os.rename(base_dir, base_dir.with_name("old"))
    clock.advance(6)
    make_manager().cleanup()
    assert manager.stats().total("missing") == 1


@needs_root
@needs_linux
def test_an_unmounted_disk_below_the_systems_temp_directory_loses_no_record(
    make_manager: MakeManager, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    at = tmp_path / "disk"
    with file_system("ext4", at):
        manager = make_manager(at / "base")
        (at / "base" / "a").write_text("on the disk")
        manager.register(at / "base" / "a", ttl=5)
        manager.close()
        clock.advance(6)
    other = make_manager(at / "base")
    with pytest.raises(VolumeUnavailable, match="is its disk mounted"):
        other.cleanup()
    assert (other.stats().waiting, other.stats().total("missing")) == (1, 0)
