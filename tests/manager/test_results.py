"""A batch reports the result of each file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import assert_balanced
from tempfleet import FileResult, TempFileManager
from tempfleet.filesystem import StrPath
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def paths(manager: TempFileManager) -> list[Path]:
    """Returns five files of three bytes."""
    paths = [Path(manager.base_dir) / name for name in ("a1", "a2", "b1", "b2", "c1")]
    for path in paths:
        path.write_bytes(b"xyz")
    return paths


def test_a_batch_registration_reports_each_file_and_totals(
    manager: TempFileManager, paths: list[Path], tmp_path: Path
) -> None:
    nowhere, link = Path(manager.base_dir) / "nowhere", Path(manager.base_dir) / "link"
    link.symlink_to(paths[0])
    result = manager.register_batch([*paths, nowhere, link], tags=["x"])
    assert result.files[:5] == [FileResult(str(path), "registered", "", 3) for path in paths]
    assert [(entry.path, entry.outcome) for entry in result.files[5:]] == [
        (str(nowhere), "missing"), (str(link), "refused"),
    ]  # fmt: skip
    assert all(entry.reason for entry in result.files[5:])
    totals = result.as_dict()
    assert totals.pop("seconds") >= 0
    assert totals == {
        "registered": 5, "deleted": 0, "missing": 1, "failed": 1, "bytes": 15,
        "outcomes": {"registered": 5, "missing": 1, "refused": 1},
    }  # fmt: skip
    json.dumps(totals)


def test_a_batch_without_errors_counts_no_failures(manager: TempFileManager, paths: list[Path]) -> None:
    result = manager.register_batch(paths)
    assert (result.registered, result.failed, result.missing) == (5, 0, 0)
    assert manager.register_batch([]).files == []


def test_a_batch_clean_up_reports_each_file_and_totals(
    make_manager: MakeManager, manager: TempFileManager, paths: list[Path]
) -> None:
    cleaner = make_manager(batch_size=2)
    manager.register_many(paths)
    paths[0].unlink()
    with paths[1].open():
        result = cleaner.cleanup_batch(force=True)
    outcomes = {Path(entry.path).name: entry.outcome for entry in result.files}
    assert outcomes == {"a1": "missing", "a2": "busy", "b1": "deleted", "b2": "deleted", "c1": "deleted"}
    assert (result.deleted, result.missing, result.failed, result.registered) == (3, 1, 1, 0)
    assert result.bytes > 0 and result.seconds > 0
    assert_balanced(manager)


def test_a_clean_up_by_prefix_deletes_expired_files_with_the_prefix(
    manager: TempFileManager, paths: list[Path], clock: FakeClock
) -> None:
    manager.register_many(paths[:3], ttl=10)
    manager.register_many(paths[3:], ttl=1000)
    clock.advance(10)
    report = manager.cleanup_report(prefix=str(Path(manager.base_dir) / "b*"))
    assert report.deleted == 1
    assert [path.exists() for path in paths] == [True, True, False, True, True]
    assert manager.cleanup() == 2


@pytest.mark.parametrize("prefix", ["b*", "./b*", "../base/b*", "../link/b*", b"b*", Path("b*")])
def test_a_prefix_is_normalised_as_a_path_is(
    prefix: StrPath, manager: TempFileManager, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.register_many(paths)
    base = Path(manager.base_dir)
    base.with_name("link").symlink_to(base)
    monkeypatch.chdir(base)
    names = [Path(deletion.path).name for deletion in manager.preview(force=True, prefix=prefix)]
    assert sorted(names) == ["b1", "b2"]
    assert manager.cleanup_batch(force=True, prefix=prefix).deleted == 2


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("one", "one/a one/b/c"),
        ("one/", "one/a one/b/c"),
        (b"one/b", "one/b/c"),
        ("one/b/c", "one/b/c"),
        ("one/b/c/", ""),
        ("on", ""),
        ("gone/", ""),
        ("one*", "one/a one/b/c one2/d one3"),
        ("one/*", "one/a one/b/c"),
        ("link", "one/a one/b/c"),
        ("two*", "two*/e"),
        (".", "one/a one/b/c one2/d one3 two*/e"),
        ("one/..", "one/a one/b/c one2/d one3 two*/e"),
        ("*", "one/a one/b/c one2/d one3 two*/e"),
        ("/", "one/a one/b/c one2/d one3 two*/e"),
        ("//", "one/a one/b/c one2/d one3 two*/e"),
        ("", "one/a one/b/c one2/d one3 two*/e"),
    ],
)
def test_a_prefix_ends_at_a_component_of_the_path(
    prefix: StrPath, names: str, make_manager: MakeManager, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make_manager(quarantine_seconds=60)
    files = [base_dir / name for name in ("one/a", "one/b/c", "one2/d", "one3", "two*/e")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (base_dir / "link").symlink_to(base_dir / "one")
    manager.register_many(files)
    monkeypatch.chdir(base_dir)
    wanted = {str(base_dir / name) for name in names.split()}
    assert {deletion.path for deletion in manager.preview(force=True, prefix=prefix)} == wanted
    result = manager.cleanup_batch(force=True, prefix=prefix)
    assert {file.path for file in result.files} == wanted
    assert {str(path) for path in files if not path.exists()} == wanted
    assert manager.purge_quarantine(prefix=prefix).deleted == len(wanted)


def test_a_clean_up_by_tags_deletes_files_that_have_all_of_them(
    manager: TempFileManager, paths: list[Path]
) -> None:
    manager.register(paths[0], tags=["x"])
    manager.register(paths[1], tags=["x", "y"])
    manager.register(paths[2], tags=["y"])
    manager.register(paths[3], tags=["x", "y"])
    manager.hold(paths[3])
    assert manager.cleanup_report(force=True, tags=["x", "y"]).deleted == 1
    assert [path.exists() for path in paths] == [True, False, True, True, True]
    assert manager.cleanup_batch(force=True, tags=["y"], prefix="/elsewhere").files == []
    assert_balanced(manager)


def test_quarantined_files_are_reported(make_manager: MakeManager, paths: list[Path]) -> None:
    manager = make_manager(quarantine_seconds=60)
    manager.register_many(paths)
    result = manager.cleanup_batch(force=True)
    assert [entry.outcome for entry in result.files] == ["set_aside"] * 5
    assert (result.deleted, result.failed) == (0, 0)
