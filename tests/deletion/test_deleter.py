"""The public calls of deletion: which files can be registered, which are deleted, and which stay."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from deletion_support import needs_root, preview
from tempfleet.deletion.deleter import Deleter
from tempfleet.errors import SettingsError, UnsafePath, VolumeUnavailable
from tempfleet.filesystem.creation import create_directory, create_file
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import new_name, normalise
from tempfleet.filesystem.private_directory import digest_of
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.records import Deletion, FileRecord, NewFile, Outcome, Way
from tempfleet.settings.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(base_dir=str(tmp_path / "base"), allowed_roots=(str(tmp_path / "data"),))


@pytest.fixture
def roots(settings: Settings):
    with Roots.open(settings) as opened:
        yield opened


def record_of(new: NewFile) -> FileRecord:
    return FileRecord(
        new.path, 0, 0, size_bytes=new.size_bytes, identity=new.identity, flags=new.flags, uid=new.uid
    )


def delete(roots: Roots, *records: FileRecord) -> list[Deletion]:
    return list(Deleter(roots, roots.settings).delete(records, token=7, may_go_on=lambda: True))


def registered(roots: Roots, path: Path, **kwargs) -> FileRecord:
    return record_of(inspect(normalise(path), roots, ttl_ms=1000, **kwargs))


@pytest.fixture
def file(tmp_path: Path, roots: Roots) -> Path:
    path = tmp_path / "data" / "file"
    path.write_bytes(b"x" * 100)
    return path


def test_a_registered_file_is_deleted_by_the_guarded_way(file: Path, roots: Roots) -> None:
    record = registered(roots, file)
    assert preview(roots, record) == Deletion(record, Outcome.DELETED, Way.GUARDED, 100)
    assert file.exists()
    assert delete(roots, record) == [Deletion(record, Outcome.DELETED, Way.GUARDED, 100)]
    assert not file.exists()


def test_a_file_that_is_written_to_and_renamed_keeps_its_identity(file: Path, roots: Roots) -> None:
    record = registered(roots, file)
    file.rename(file.with_name("else")).rename(file)
    with file.open("a") as growing:
        growing.write("more")
    file.chmod(0o400)
    assert delete(roots, record)[0].outcome is Outcome.DELETED


@pytest.mark.parametrize("half_done", [False, True])
def test_a_worker_that_cannot_compare_the_identity_leaves_the_file_to_one_that_can(
    settings: Settings, file: Path, roots: Roots, half_done: bool
) -> None:
    if not Capabilities.probe().statx:
        pytest.skip("nobody can tell more than the portable way here")
    record = registered(roots, file)
    root = roots.find(record.path)
    if half_done and root is not None:
        os.rename(file, f"{digest_of(record.path)}.6", dst_dir_fd=root.private.open())
    with Roots.open(settings, system=System(Capabilities())) as portable:
        assert preview(portable, record).outcome is Outcome.FAILED
        assert [deletion.outcome for deletion in delete(portable, record)] == [Outcome.FAILED]
    with Roots.open(settings, system=System(replace(Capabilities.probe(), statx=False))) as by_handle:
        if root is not None and root.handles:
            assert [deletion.outcome for deletion in delete(by_handle, record)] == [Outcome.DELETED]
            return
    assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.DELETED]


@pytest.mark.parametrize("swap", ["symlink", "fifo", "directory"])
def test_another_kind_of_file_with_the_name_stays(file: Path, roots: Roots, swap: str) -> None:
    record = registered(roots, file)
    file.rename(file.with_name("kept"))
    make = {
        "symlink": lambda: file.symlink_to("kept"),
        "fifo": lambda: os.mkfifo(file),
        "directory": file.mkdir,
    }
    make[swap]()
    [deletion] = delete(roots, record)
    assert (deletion.outcome, deletion.reason) == (Outcome.REPLACED, swap)
    assert os.path.lexists(file)
    assert file.with_name("kept").exists()


def test_a_parent_that_became_a_symlink_is_refused(tmp_path: Path, roots: Roots) -> None:
    parent = tmp_path / "data" / "sub"
    parent.mkdir()
    (parent / "f").write_text("x")
    record = registered(roots, parent / "f")
    parent.rename(tmp_path / "data" / "moved")
    parent.symlink_to("moved")
    [deletion] = delete(roots, record)
    assert (deletion.outcome, deletion.reason) == (Outcome.REFUSED, "symlink")
    assert (tmp_path / "data" / "moved" / "f").exists()


def test_a_created_file_is_deleted_by_the_direct_way(roots: Roots) -> None:
    name = new_name("a-", ".tmp")
    os.close(create_file(roots, name, mode=0o600))
    record = FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid())
    assert delete(roots, record) == [Deletion(record, Outcome.DELETED, Way.DIRECT, 0)]
    assert delete(roots, record)[0].outcome is Outcome.MISSING


def test_a_created_record_outside_the_base_directory_is_refused(file: Path, roots: Roots) -> None:
    record = FileRecord(normalise(file), 0, 0, flags="c", uid=os.geteuid())
    assert delete(roots, record)[0].outcome is Outcome.REFUSED
    assert file.exists()


def test_a_directory_is_deleted_with_its_content(tmp_path: Path, roots: Roots) -> None:
    name = new_name()
    create_directory(roots, name, mode=0o700)
    tree = tmp_path / "data" / "tree"
    for top in (Path(roots.base.path, name), tree):
        (top / "a" / "b" / "c").mkdir(parents=True)
        (top / "a" / "b" / "file").write_text("x" * 10)
        (top / "a" / "link").symlink_to("/etc")
    created = FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="cd", uid=os.geteuid())
    registered_tree = registered(roots, tree, directory=True)
    assert [(d.outcome, d.freed_bytes) for d in delete(roots, created, registered_tree)] == [
        (Outcome.DELETED, 10)
    ] * 2
    assert not tree.exists()
    assert not Path(roots.base.path, name).exists()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "socket", "directory", "not-a-directory"])
def test_special_files_are_refused_at_registration(file: Path, roots: Roots, kind: str) -> None:
    path = file.with_name("odd")
    if kind == "symlink":
        path.symlink_to(file)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    elif kind == "directory":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(UnsafePath) as refused:
        registered(roots, path, directory=kind == "not-a-directory")
    assert refused.value.reason == kind


@pytest.mark.parametrize("path", ["", "/tmp/", "..", "/tmp/..", ".", "a\0b", b"", "/", "\ud800/x"])
def test_an_impossible_path_is_refused(path: str | bytes) -> None:
    with pytest.raises(UnsafePath):
        normalise(path)


def test_normalising_resolves_the_parent_and_not_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "name").symlink_to("nowhere")
    resolved = str(tmp_path.resolve() / "real" / "name")
    assert normalise(tmp_path / "link" / ".." / "link" / "name") == resolved
    assert normalise(os.fsencode(tmp_path / "link" / "name")) == resolved
    monkeypatch.chdir(tmp_path)
    assert normalise("link/name") == resolved
    assert normalise(b"link/\xff") == str(tmp_path.resolve() / "real" / "\udcff")


def test_a_path_outside_every_root_is_refused(tmp_path: Path, roots: Roots) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    with pytest.raises(UnsafePath, match="ALLOWED_ROOTS"):
        registered(roots, outside)
    record = FileRecord(normalise(outside), 0, 0, identity="b1.1")
    assert delete(roots, record)[0].outcome is Outcome.REFUSED
    assert outside.exists()


def test_a_path_in_the_private_directory_is_refused(roots: Roots) -> None:
    private = Path(roots.base.path, f".tempfleet-{os.geteuid()}")
    private.mkdir(mode=0o700)
    (private / "f").touch()
    with pytest.raises(UnsafePath, match="private directory"):
        registered(roots, private / "f")


def test_a_replaced_root_is_unavailable(tmp_path: Path, file: Path, roots: Roots) -> None:
    record = registered(roots, file)
    file.parent.rename(tmp_path / "moved")
    assert list(roots.check()) == [str(tmp_path.resolve() / "data")]
    file.parent.mkdir()
    assert roots.check() == {str(tmp_path.resolve() / "data"): "replaced"}
    assert delete(roots, record)[0].outcome is Outcome.UNAVAILABLE
    with pytest.raises(VolumeUnavailable):
        inspect(record.path, roots, ttl_ms=1)


def test_a_missing_extra_root_is_unavailable_without_an_error(tmp_path: Path) -> None:
    gone = str(tmp_path.resolve() / "gone")
    with Roots.open(Settings(base_dir=str(tmp_path / "base"), allowed_roots=(gone,))) as roots:
        assert roots.unavailable == {gone: "ENOENT"}
        record = FileRecord(f"{gone}/f", 0, 0, identity="b1.1")
        assert delete(roots, record)[0].outcome is Outcome.UNAVAILABLE


def test_a_missing_root_inside_another_root_is_unavailable(tmp_path: Path) -> None:
    inner = str(tmp_path.resolve() / "data" / "volume")
    (tmp_path / "data").mkdir()
    roots_of = (str(tmp_path / "data"), inner)
    with Roots.open(Settings(base_dir=str(tmp_path / "base"), allowed_roots=roots_of)) as roots:
        record = FileRecord(f"{inner}/f", 0, 0, identity="b1.1")
        assert delete(roots, record)[0].outcome is Outcome.UNAVAILABLE
        with pytest.raises(VolumeUnavailable):
            inspect(record.path, roots, ttl_ms=1)


def test_a_missing_base_directory_is_created_private_or_reported(tmp_path: Path) -> None:
    settings = Settings(base_dir=str(tmp_path / "a" / "base"), allowed_roots=(str(tmp_path),))
    with pytest.raises(VolumeUnavailable):
        Roots.open(settings, create=False)
    with Roots.open(settings) as roots:
        assert os.stat(roots.base.path).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "root", ["/", os.path.expanduser("~"), "/etc", "/etc/ssl", "/proc/self", "/usr", "/var", "/dev"]
)
def test_system_and_home_directories_are_refused_as_roots(tmp_path: Path, root: str) -> None:
    with pytest.raises(SettingsError):
        Roots.open(Settings(base_dir=str(tmp_path / "base"), allowed_roots=(root,)))
    with pytest.raises(SettingsError):
        Roots.open(Settings(base_dir=root))


def test_a_root_that_others_can_write_to_needs_the_sticky_bit(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    settings = Settings(base_dir=str(tmp_path / "base"), allowed_roots=(str(data),))
    with pytest.raises(SettingsError, match="sticky"):
        Roots.open(settings)
    data.chmod(0o1777)
    Roots.open(settings).close()


@needs_root
@pytest.mark.parametrize("owner_check", [True, False])
def test_a_created_file_of_another_owner_stays_in_a_base_directory_that_others_can_write_to(
    tmp_path: Path, owner_check: bool
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    base.chmod(0o1777)
    with Roots.open(Settings(base_dir=str(base), owner_check=owner_check)) as roots:
        for uid in (0, 12345):
            name = new_name()
            os.close(create_file(roots, name, mode=0o600))
            os.chown(base / name, uid, -1)
            [deletion] = delete(roots, FileRecord(str(base.resolve() / name), 0, 0, flags="c", uid=0))
            is_ours = uid == 0
            assert deletion.outcome is (Outcome.DELETED if is_ours else Outcome.REFUSED)
            assert (base / name).exists() is not is_ours


def test_the_freed_bytes_of_a_directory_leave_out_files_that_have_another_name(
    tmp_path: Path, roots: Roots
) -> None:
    tree, kept = tmp_path / "data" / "tree", tmp_path / "data" / "kept"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * 10)
    kept.write_bytes(b"x" * 100)
    os.link(kept, tree / "link")
    [deletion] = delete(roots, registered(roots, tree, directory=True))
    assert (deletion.outcome, deletion.freed_bytes) == (Outcome.DELETED, 10)
    assert kept.stat().st_size == 100


def test_no_file_is_deleted_after_may_go_on_returns_false(tmp_path: Path, roots: Roots) -> None:
    paths = [tmp_path / "data" / str(n) for n in range(5)]
    for path in paths:
        path.touch()
    answers = iter([True] * 4 + [False])  # before each file, and right before its unlink
    records = [registered(roots, path) for path in paths]
    done = list(Deleter(roots, roots.settings).delete(records, token=7, may_go_on=lambda: next(answers)))
    assert len(done) == 2
    assert [path.exists() for path in paths] == [False, False, True, True, True]
