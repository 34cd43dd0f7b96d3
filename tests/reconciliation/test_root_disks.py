"""What is not the directory that files were registered in is not missing: the roots beside the base directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from deletion_support import file_system, needs_linux, needs_root
from tempfleet import TempFileManager, VolumeUnavailable
from tempfleet.embedded import EmbeddedServer
from tempfleet.reconciliation import preview_takeover, root_disks
from tempfleet.registry import Fleet
from tempfleet.testing import FakeClock


@pytest.fixture(params=["root", "rööt\udcff é"])
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A root beside the base directory. It is not below the system's temp directory, so it is expected to last."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    root = tmp_path / str(request.param)
    root.mkdir()
    return root


@pytest.fixture
def manager_of(make_manager: MakeManager, tmp_path: Path, root: Path) -> Callable[..., TempFileManager]:
    def make(**values: object) -> TempFileManager:
        roots = f"{tmp_path / 'base'}:{root}"
        return make_manager(tmp_path / "base", **{"TEMP_FILE_ALLOWED_ROOTS": roots} | values)

    return make


def exchange(root: Path) -> None:
    """Another directory has the name of *root* now."""
    os.rename(root, root.with_name("real"))
    root.mkdir()


def give_back(root: Path) -> None:
    root.rename(root.with_name("other"))
    os.rename(root.with_name("real"), root)


def test_files_of_another_root_are_kept_while_another_directory_has_its_name(
    manager_of: Callable[..., TempFileManager], clock: FakeClock, root: Path, tmp_path: Path
) -> None:
    manager = manager_of()
    for path in (root / "a", tmp_path / "base" / "b"):
        path.touch()
        manager.register(path, ttl=5)
    exchange(root)
    clock.advance(6)

    other = manager_of()
    (preview,) = [deletion for deletion in other.preview() if deletion.path == str(root / "a")]
    assert (preview.outcome, preview.reason) == ("unavailable", "another-disk")
    assert other.cleanup() == 1, "files of the base directory go on"
    assert (other.stats().waiting, other.stats().total("missing")) == (1, 0)
    explained = other.explain(root / "a")
    assert explained.verdict is not None and explained.verdict.reason == "another-disk"
    (root / "new").touch()
    with pytest.raises(VolumeUnavailable):
        other.register(root / "new")
    health = other.health_check()
    assert health["status"] == "degraded" and "another-disk" in health["warning"]
    assert "tempfleet accept-disk" in health["warning"]
    assert other.roots.check() == {str(root): "another-disk"}
    other.files = {}
    assert (other.stats().records, other.stats().total("missing")) == (1, 0)

    give_back(root)
    clock.advance(3700)
    back = manager_of()
    assert back.cleanup() == 1
    assert not (root / "a").exists()


def test_a_person_may_accept_another_root_as_it_is(
    manager_of: Callable[..., TempFileManager], clock: FakeClock, root: Path
) -> None:
    (root / "a").touch()
    manager_of().register(root / "a", ttl=5)
    exchange(root)
    clock.advance(6)
    other = manager_of()
    other.cleanup()
    assert other.accept_disk() == [str(root)]
    (root / "new").touch()
    other.register(root / "new")
    clock.advance(3601)
    other.cleanup()
    assert (other.stats().total("missing"), other.health_check()["status"]) == (1, "healthy")


def test_a_process_learns_of_another_root_with_the_claim_of_its_first_file(
    manager_of: Callable[..., TempFileManager], clock: FakeClock, root: Path
) -> None:
    late = manager_of()
    late.cleanup()
    exchange(root)
    other = manager_of()
    (root / "a").touch()
    other.register(root / "a", ttl=5)
    give_back(root)
    clock.advance(6)
    assert (late.cleanup(), late.stats().waiting, late.stats().total("missing")) == (0, 1, 0)


def test_a_registration_notices_another_root_itself(
    manager_of: Callable[..., TempFileManager], root: Path, tmp_path: Path
) -> None:
    (root / "a").touch()
    manager_of().register(root / "a")
    exchange(root)
    other, paths = manager_of(), [tmp_path / "base" / "b", root / "a"]
    for path in paths:
        path.touch()
    with pytest.raises(VolumeUnavailable, match="accept-disk") as caught:
        other.register(paths[1])
    assert (caught.value.base_dir, caught.value.reason) == (str(root), "another-disk")
    other.register(paths[0])
    assert other.stats().records == 2


def test_an_empty_registry_accepts_any_root(manager_of: Callable[..., TempFileManager], root: Path) -> None:
    manager = manager_of()
    (root / "a").touch()
    manager.register(root / "a")
    manager.unregister(root / "a")
    exchange(root)
    (root / "a").touch()
    other = manager_of()
    other.register(root / "a")
    assert other.health_check()["status"] == "healthy"


def test_a_process_with_a_narrower_root_compares_the_recorded_one(
    make_manager: MakeManager, clock: FakeClock, root: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    (root / "app").mkdir()
    (root / "app" / "a").touch()
    make_manager(base, TEMP_FILE_ALLOWED_ROOTS=f"{base}:{root}").register(root / "app" / "a", ttl=5)
    exchange(root)
    (root / "app").mkdir()
    clock.advance(6)
    narrow = make_manager(base, TEMP_FILE_ALLOWED_ROOTS=f"{base}:{root}/app")
    narrow.cleanup()
    assert (narrow.stats().waiting, narrow.stats().total("missing")) == (1, 0)


def test_files_in_another_root_are_not_taken_over_where_it_is_another_directory(
    manager_of: Callable[..., TempFileManager], root: Path, tmp_path: Path
) -> None:
    old = manager_of(host="gone")
    for path in (root / "a", tmp_path / "base" / "b"):
        path.touch()
        old.register(path)
    exchange(root)
    new = manager_of(host="new")
    preview = preview_takeover("gone", new.registry, new.roots, Fleet(new.store))
    for report in (preview, new.take_over("gone")):
        assert (report.entered, dict(report.left)) == (1, {"another-disk": 1})
    assert new.stats().records == 1
    assert Fleet(new.store).registry(old.volume).stats().records == 1


def test_registering_in_another_root_needs_no_further_round_trip(
    manager_of: Callable[..., TempFileManager], root: Path
) -> None:
    manager = manager_of()
    for n in range(3):
        (root / str(n)).touch()
    manager.register(root / "0")
    before = manager.store.round_trips
    manager.register_many([root / "1", root / "2"])
    assert manager.store.round_trips == before + 1


@needs_root
@needs_linux
def test_files_of_an_unmounted_root_are_kept(
    make_manager: MakeManager, clock: FakeClock, root: Path, tmp_path: Path
) -> None:
    values = {"TEMP_FILE_ALLOWED_ROOTS": f"{tmp_path / 'base'}:{root}"}
    with file_system("ext4", root):
        manager = make_manager(tmp_path / "base", **values)
        (root / "a").touch()
        manager.register(root / "a", ttl=5)
        manager.close()
    clock.advance(6)
    other = make_manager(tmp_path / "base", **values)
    other.cleanup()
    assert (other.stats().waiting, other.stats().total("missing")) == (1, 0)


@needs_root
@needs_linux
@pytest.mark.parametrize("kind", ["disk", "memory", "bound"])
def test_a_process_with_a_private_root_drops_no_record(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    """
    As PrivateTmp= of systemd with a base directory that both see, or two containers with one host name; or BindPaths=
    of a directory below the temp directory.
    """
    shared, private, base = tmp_path / "tmp", tmp_path / "private", tmp_path / "base"
    for directory in (shared, private, base):
        directory.mkdir()
    (shared / "a").touch()
    values = {
        "TEMP_FILE_BASE_DIR": str(base),
        "TEMP_FILE_REDIS_URL": real_server.unix_url,
        "TEMP_FILE_HOST": "web-1",
        "TMPDIR": str(tmp_path if kind == "bound" else shared),
        "TEMP_FILE_ALLOWED_ROOTS": f"{base}:{shared}",
    }

    def run(mount: str, code: str) -> str:
        code = f"from tempfleet import TempFileManager as M, VolumeUnavailable as V\nm = M()\n{code}"
        command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", code]
        return subprocess.run(
            command, env=os.environ | values, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    mount = f"mount --bind {private} {shared}" if kind != "memory" else f"mount -t tmpfs none {shared}"
    path = shared / "a"
    name = repr(str(path))
    register = f"open({name}, 'a')\ntry: m.register({name}, ttl=0.001)\nexcept V as exc: print(exc.reason)"
    assert run("true", register) == ""
    assert run(mount, "print(m.cleanup(), m.stats().records, m.stats().total('missing'))") == "0 1 0\n"
    assert run(mount, register) == "another-disk\n"
    assert path.exists()
    assert run("true", "print(m.clear_all())") == "1\n"


def test_a_text_of_identities_comes_back(root: Path) -> None:
    identities = {str(root): "g1.2.a@u", "/a b\n": "~b1.2@~g3@u~boot-1.2"}
    text = root_disks.as_text(identities | {"/weak": ""})
    assert root_disks.identities_in(text) == identities
    assert text.isascii()
