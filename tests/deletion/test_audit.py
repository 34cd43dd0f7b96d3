"""The audit log contains one line for each decision. No file name can forge a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tempfleet.deletion import audit
from tempfleet.deletion.deleter import Deleter
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import normalise
from tempfleet.filesystem.roots import Roots
from tempfleet.records import FileRecord
from tempfleet.settings.settings import Settings

NAMES = ["plain", "new\nline", 'quo"te', "back\\slash", "\x1b[31m", "caf\u00e9", "\udcff\udcfe", "\u2028"]


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    (tmp_path / "data").mkdir()
    settings = Settings(
        base_dir=str(tmp_path / "base"), allowed_roots=(str(tmp_path / "data"),), host="web-1"
    )
    with Roots.open(settings) as opened:
        yield opened


def record_for(roots: Roots, path: Path) -> FileRecord:
    path.write_text("x" * 5)
    new = inspect(normalise(path), roots, ttl_ms=1000)
    return FileRecord(new.path, 0, 1000, identity=new.identity, uid=new.uid)


def lines_of(text: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_decision_is_one_line_for_any_file_name(tmp_path: Path, roots: Roots) -> None:
    records = [record_for(roots, tmp_path / "data" / name) for name in NAMES]
    (tmp_path / "data" / "plain").unlink()
    done = list(Deleter(roots, roots.settings).delete(records, token=42, may_go_on=lambda: True))
    log = Path(audit.usual_path(roots.base.path))
    assert log.stat().st_mode & 0o777 == 0o600
    lines = lines_of(log.read_bytes())
    assert [line["path"] for line in lines] == [record.path for record in records]
    assert [line["outcome"] for line in lines] == [deletion.outcome for deletion in done]
    assert log.read_bytes().isascii()
    last = lines[-1]
    assert (last["host"], last["token"], last["way"], last["freed_bytes"]) == ("web-1", 42, "guarded", 5)
    assert last["identity"] == records[-1].identity
    assert last["lag_ms"] == last["at_ms"] - 1000  # type: ignore[operator]


def test_the_log_is_rotated_and_two_old_ones_are_kept(
    tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_ROTATE_BYTES", 1000)
    deleter = Deleter(roots, roots.settings)
    for n in range(40):
        list(deleter.delete([record_for(roots, tmp_path / "data" / str(n))], token=n, may_go_on=lambda: True))
    names = sorted(name for name in os.listdir(roots.base.private.path) if name.startswith(audit.NAME))
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    for name in names:
        assert lines_of(Path(roots.base.private.path, name).read_bytes())


def test_a_log_that_cannot_be_rotated_is_still_written(
    tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "_ROTATE_BYTES", 1)
    roots.base.private.open()
    Path(roots.base.private.path, "audit.log.1").touch()
    Path(roots.base.private.path, "audit.log.2").mkdir()
    deleter = Deleter(roots, roots.settings)
    numbers = []
    for n in range(5):
        record = record_for(roots, tmp_path / "data" / str(n))
        list(deleter.delete([record], token=n, may_go_on=lambda: True))
        numbers.append(psutil.Process().num_fds())
    assert numbers == [numbers[0]] * 5
    assert len(lines_of(Path(audit.usual_path(roots.base.path)).read_bytes())) == 5
    assert "cannot be rotated: EISDIR" in caplog.text


def test_a_log_that_cannot_be_written_stops_no_deletion(
    tmp_path: Path, roots: Roots, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "no" / "log"
    deleter = Deleter(roots, roots.settings.model_copy(update={"audit_log": str(log)}))

    def delete(name: str) -> None:
        record = record_for(roots, tmp_path / "data" / name)
        list(deleter.delete([record], token=1, may_go_on=lambda: True))
        assert not os.path.exists(record.path)

    delete("a")
    delete("b")
    (warning,) = caplog.messages
    assert f"The audit log {log} cannot be written (ENOENT: no such file" in warning
    assert "TEMP_FILE_AUDIT_LOG" in warning
    log.parent.mkdir()
    delete("c")
    log.unlink()
    log.parent.rmdir()
    delete("d")
    assert len(caplog.messages) == 2, "it could be written meanwhile, so that is news"


def test_the_warning_about_an_unwritable_default_log_contains_its_path(
    tmp_path: Path, roots: Roots, caplog: pytest.LogCaptureFixture
) -> None:
    log = Path(audit.usual_path(roots.base.path))
    log.parent.mkdir(mode=0o700)
    log.mkdir()
    record = record_for(roots, tmp_path / "data" / "f")
    list(Deleter(roots, roots.settings).delete([record], token=1, may_go_on=lambda: True))
    assert f"The audit log {log} cannot be written (EISDIR" in caplog.text


def test_a_log_at_a_configured_path_is_appended_to(tmp_path: Path, roots: Roots) -> None:
    settings = roots.settings.model_copy(update={"audit_log": str(tmp_path / "log")})
    for name in "ab":
        record = record_for(roots, tmp_path / "data" / name)
        list(Deleter(roots, settings).delete([record], token=1, may_go_on=lambda: True))
    assert len(lines_of((tmp_path / "log").read_bytes())) == 2
