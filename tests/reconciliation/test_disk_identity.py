"""Nothing is claimed on a disk other than the one that the records were made for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from deletion_support import file_system, needs_linux, needs_root
from tempfleet import Settings, VolumeUnavailable
from tempfleet.embedded import EmbeddedServer
from tempfleet.filesystem.roots import Roots
from tempfleet.reconciliation import disk_identity
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


def test_files_of_another_directory_do_not_enter(make_manager: MakeManager, lasting: Path) -> None:
    manager, path = make_manager(lasting), lasting / "a"
    path.touch()
    other = make_manager(lasting)
    manager.register(path)
    os.rename(lasting, lasting.with_name("old"))
    late = make_manager(lasting)
    path.touch()
    for create in (lambda: late.register(path), late.create, late.create_dir):
        with pytest.raises(VolumeUnavailable, match="accept-disk"):
            create()
    assert [record.path for record in manager.records()] == [str(path)]
    other.unregister(path)
    late.register(path)  # the registry was empty


@needs_root
@needs_linux
@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_process_with_a_private_temp_directory_drops_no_record(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    """As with PrivateTmp= of systemd, or in two containers with one host name."""
    shared, private = tmp_path / "tmp", tmp_path / "private"
    shared.mkdir(), private.mkdir()
    values = {
        "TEMP_FILE_BASE_DIR": str(shared / "base"),
        "TEMP_FILE_REDIS_URL": real_server.unix_url,
        "TEMP_FILE_HOST": "web-1",
        "TMPDIR": str(shared),
    }

    def run(mount: str, code: str) -> str:
        code = f"from tempfleet import TempFileManager as M\nm = M()\n{code}"
        command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", code]
        return subprocess.run(
            command, env=os.environ | values, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    mount = f"mount --bind {private} {shared}" if kind == "disk" else f"mount -t tmpfs none {shared}"
    refused = "from tempfleet import VolumeUnavailable as V\ntry: {}\nexcept V as exc: print(exc.reason)"
    run("true", "m.create(ttl=0.001).close()")
    assert run(mount, refused.format("m.cleanup()")) == "another-disk\n"
    assert run(mount, refused.format("m.create()")) == "another-disk\n"
    assert run(mount, "print(m.stats().records, m.stats().total('missing'))") == "1 0\n"
    assert run("true", "print(m.cleanup())") == "1\n"


ROOT, OTHER = "~g2.1.a@u1", "~g2.2.b@u1"


@pytest.mark.parametrize(
    ("current", "stored", "accepted"),
    [
        ("g1.1.a@", "g1.1.a@u1", True),
        ("g1.1.a@u2", "g1.1.a@u1", False),
        ("b1.1@u1", "g1.1.a@u1", True),
        ("b1.2@u1", "g1.1.a@u1", False),
        ("h1.a@", "g1.1.a@u1", True),
        (f"{ROOT}~g3@u1", f"{OTHER}~g3@u1", True),
        (f"{ROOT}~g3@u1", f"{OTHER}~g4@u1", False),
        (f"{ROOT}~g3@u2", f"{OTHER}~g3@u1", False),
        (f"{ROOT}~~boot.1", f"{OTHER}~~boot.1", True),
        (f"{ROOT}~~boot.1", f"{OTHER}~~boot.2", False),
        (f"{ROOT}~~boot.1", f"{OTHER}~~before.2", True),
        (f"{ROOT}~g3@u1~boot.1", f"{OTHER}~g4@u1~boot.1", False),
        (f"{ROOT}~g3@u1", "g1.1.a@u1", False),
    ],
)
def test_a_new_directory_is_accepted_only_in_the_place_of_the_old_one(
    current: str, stored: str, accepted: bool
) -> None:
    assert (
        disk_identity.is_same(current, stored) or disk_identity.is_same_place(current, stored)
    ) is accepted


@needs_root
@needs_linux
def test_two_file_systems_that_were_made_in_the_same_second_are_two_disks(tmp_path: Path) -> None:
    identities = []
    for name in ("first", "second"):
        with (
            file_system("ext4", tmp_path / name),
            Roots.open(Settings(base_dir=str(tmp_path / name))) as roots,
        ):
            identities.append(disk_identity.disk_identity_of(roots))
    uuids = [identity.partition("@")[2] for identity in identities]
    assert all(uuids) and uuids[0] != uuids[1]
    assert identities[0] != identities[1]


def test_a_process_that_confirmed_an_empty_registry_claims_no_files_of_another_disk(
    make_manager: MakeManager, clock: FakeClock, lasting: Path
) -> None:
    late, path = make_manager(lasting), lasting / "a"
    assert late.cleanup() == 0
    os.rename(lasting, lasting.with_name("old"))
    other = make_manager(lasting)
    path.touch()
    other.register(path, ttl=5)
    os.rename(lasting, lasting.with_name("other"))
    os.rename(lasting.with_name("old"), lasting)
    clock.advance(6)
    for clean in (late.cleanup, late.clear_all):
        with pytest.raises(VolumeUnavailable):
            clean()
    assert (other.stats().waiting, other.stats().total("missing")) == (1, 0)
