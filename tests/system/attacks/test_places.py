"""
Another user prepares the paths of the base directory, the private directory or the audit log. The tests create the
attacker's files and give them to that user, which needs root.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from deletion_support import delete, preview, record_of, registered, settings_for
from support import python
from tempfleet import Settings, SettingsError, UnsafePath
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.plan import Quarantined
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.roots import Roots
from tempfleet.records import Outcome

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Returns a directory with the mode of /tmp."""
    at = tmp_path / "shared"
    at.mkdir()
    at.chmod(0o1777)
    return at


def open_roots(base_dir: Path) -> Roots:
    return Roots.open(Settings.load(base_dir=str(base_dir)))


@needs_root
@pytest.mark.parametrize("below", ["", "sub"])
def test_a_symlink_of_another_user_in_the_base_directorys_path_is_refused(
    shared: Path, tmp_path: Path, below: str
) -> None:
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True, mode=0o700)
    link = shared / "tempfleet"
    link.symlink_to(precious)
    open_roots(link / below).close()  # a link of our own may be followed
    os.lchown(link, NOBODY, NOBODY)
    before = sorted(os.walk(precious))
    with pytest.raises(SettingsError, match="symlink of uid 65534"):
        open_roots(link / below)
    (tmp_path / "by-another").symlink_to(link)
    with pytest.raises(SettingsError, match="symlink of uid 65534"):
        open_roots(tmp_path / "by-another" / below)
    assert sorted(os.walk(precious)) == before


@needs_root
def test_a_default_base_directory_of_another_user_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    base = Path(Settings.load().base_dir)
    assert base.parent == shared
    base.mkdir(mode=0o700)
    os.chown(base, NOBODY, NOBODY)
    with pytest.raises(SettingsError, match="belongs to uid 65534"):
        Roots.open(Settings.load())
    os.chown(base, 0, 0)
    Roots.open(Settings.load()).close()


@pytest.mark.parametrize("name", [".tempfleet-0", ".tempfleet-0/base", ".tempfleet-x/y"])
def test_a_root_inside_a_private_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"\.tempfleet-"):
        open_roots(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_created_file_cannot_have_the_name_of_a_private_directory() -> None:
    with pytest.raises(UnsafePath) as refused:
        new_name(".tempfleet-")
    assert refused.value.reason == "private"


LOGGING = """
import sys
from tempfleet import Settings
from tempfleet.deletion import Deleter
from tempfleet.filesystem.roots import Roots
from tempfleet.records import FileRecord
settings = Settings.load(base_dir=sys.argv[1], audit_log=sys.argv[2])
record = FileRecord(sys.argv[1] + "/gone", 0, 0, identity="g1.1.1")
for done in Deleter(Roots.open(settings), settings).delete([record], token=1, may_go_on=lambda: True):
    print(done.outcome)
"""


def test_a_fifo_at_the_path_of_the_audit_log_stops_no_deletion(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit")
    with python(LOGGING, tmp_path / "base", tmp_path / "audit", stderr=subprocess.DEVNULL) as process:
        try:
            assert process.communicate(timeout=20)[0] == "missing\n"
        finally:
            process.kill()


def test_registering_a_file_with_another_link_does_not_change_its_mode(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("bytes")
    other.chmod(0o644)
    with open_roots(tmp_path / "base") as roots:
        path = tmp_path / "base" / "a"
        os.link(other, path)
        inspect(str(path), roots, ttl_ms=1000)
        assert stat.S_IMODE(other.stat().st_mode) == 0o644
        other.unlink()
        inspect(str(path), roots, ttl_ms=1000)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("when", ["between two calls", "in the middle of one"])
def test_a_removed_private_directory_loses_no_record(tmp_path: Path, when: str) -> None:
    settings = settings_for(tmp_path)
    with Roots.open(settings) as roots:
        records = []
        for name in ("first", "second"):
            (tmp_path / "data" / name).write_text(name)
            records.append(registered(roots, tmp_path / "data" / name))
        second = records[1]
        deleter = Deleter(roots, settings)
        steps = deleter.delete(records, token=7, may_go_on=lambda: True)
        assert next(steps).outcome is Outcome.DELETED
        if when == "between two calls":
            steps.close()
        (root,) = (root for root in roots if root.path == str(tmp_path / "data"))
        shutil.rmtree(root.private.path)
        if when == "in the middle of one":
            assert [(deletion.outcome, deletion.reason) for deletion in steps] == [
                (Outcome.UNAVAILABLE, "no-private-directory")
            ]
        assert [deletion.outcome for deletion in delete(roots, second)] == [Outcome.DELETED]
        assert not (tmp_path / "data" / "second").exists()


def test_files_below_a_setgid_root_are_deleted(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = tmp_path / "data" / "file"
    path.parent.chmod(0o2750)
    with Roots.open(settings) as roots:
        path.touch()
        assert [deletion.outcome for deletion in delete(roots, registered(roots, path))] == [Outcome.DELETED]
        assert len(list(path.parent.iterdir())) == 1


@needs_root
@pytest.mark.parametrize("raced", [False, True])
def test_root_purges_files_quarantined_by_the_owner_of_the_volume(tmp_path: Path, raced: bool) -> None:
    settings = settings_for(tmp_path, quarantine_seconds=60)
    path = tmp_path / "data" / "file"
    path.write_text("x")
    with Roots.open(settings) as roots:
        deleter = Deleter(roots, settings)
        [moved] = deleter.quarantine([registered(roots, path)], token=7, may_go_on=lambda: True)
        assert isinstance(moved, Quarantined)
    # as if NOBODY had created all of it
    private = Path(moved.new.path).parent
    his = private.rename(private.with_name(f".tempfleet-{NOBODY}"))
    os.chown(his, NOBODY, NOBODY)
    aside = record_of(replace(moved.new, path=str(his / Path(moved.new.path).name)))
    if raced:
        os.rename(aside.path, his / "kept")
        Path(aside.path).write_text("precious")
    with Roots.open(settings) as roots:
        promised = preview(roots, aside).outcome
        assert [deletion.outcome for deletion in delete(roots, aside)] == [promised]
    assert promised is (Outcome.REPLACED if raced else Outcome.DELETED)
    assert os.path.exists(aside.path) is raced
