"""The hooks are functions of values: a test makes the values and calls them."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import tempfleet_archive as archive

from tempfleet import Deletion, FileRecord, Outcome


def record(path: str, **values: object) -> FileRecord:
    return FileRecord(path, registered_ms=1_000, deadline_ms=2_000, **values)  # type: ignore[arg-type]


def test_legal_files_and_files_with_a_note_beside_them_stay(tmp_path: Path) -> None:
    (tmp_path / "noted.keep").touch()
    files = [
        record(str(tmp_path / "legal"), tags=("legal", "q3")),
        record(str(tmp_path / "noted")),
        record(str(tmp_path / "other"), tags=("q3",)),
    ]
    assert archive.tempfleet_before_delete(files) == [str(tmp_path / "legal"), str(tmp_path / "noted")]


def test_each_deletion_and_failure_is_a_line_of_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    monkeypatch.setenv(archive.LEDGER, str(ledger))
    odd = os.fsdecode(b"/base/new\nline\xff")
    archive.tempfleet_after_delete([Deletion(record(odd), Outcome.DELETED, freed_bytes=7)])
    archive.tempfleet_on_failure([Deletion(record("/base/b"), Outcome.FAILED, reason="EACCES")])
    first, second = map(json.loads, ledger.read_text().splitlines())
    assert (first["path"], first["outcome"], first["freed_bytes"]) == (odd, "deleted", 7)
    assert (second["path"], second["reason"]) == ("/base/b", "EACCES")


def test_without_a_ledger_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(archive.LEDGER, raising=False)
    archive.tempfleet_after_delete([Deletion(record("/base/a"), Outcome.DELETED)])
    assert os.listdir(tmp_path) == []


def test_files_near_their_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    archive.tempfleet_near_expiry([record("/base/a")])
    assert "Soon to be deleted: '/base/a'" in caplog.text


def test_the_smallest_go_first() -> None:
    smallest = archive.tempfleet_eviction_policies()["smallest"]
    files = [record("/base/big", size_bytes=9), record("/base/small", size_bytes=1)]
    assert [file.path for file in sorted(files, key=smallest)] == ["/base/small", "/base/big"]
