"""Every legal file name works everywhere: on disk, in the registry, and printed on a screen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support import assert_balanced, entries
from tempfleet import TempFileManager
from tempfleet.logs import printable
from tempfleet.registry.keys import Volume
from tempfleet.testing import FakeClock

names = (
    st.binary(min_size=1, max_size=200).map(lambda raw: raw.replace(b"/", b"-").replace(b"\0", b"-"))
).filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".tempfleet-"))


@pytest.fixture
def real_manager(real_client: redis.Redis, base_dir: Path, clock: FakeClock) -> TempFileManager:
    return TempFileManager(base_dir, client=real_client, clock=clock, host="web-1")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=names)
@example(raw=b"\xff\xfe not utf-8")
@example(raw=b"new\nline")
@example(raw=b"\x1b[2J\x1b[31mred\x07")
@example(raw=b"trailing space ")
@example(raw=b"-rf")
@example(raw=b"*?[a-z]{b}|$HOME\\")
@example(raw=b"{host|base}")
@example(raw="größe\u202e".encode())
@example(raw=b"1 2 3 \n{}")
@example(raw=b"x" * 255)
def test_any_legal_name_is_registered_found_listed_and_deleted(
    real_manager: TempFileManager, base_dir: Path, clock: FakeClock, raw: bytes
) -> None:
    manager, path = real_manager, os.path.join(os.fsencode(base_dir.resolve()), raw)
    with open(path, "wb") as file:
        file.write(b"data")
    record = manager.register(path, ttl=10, tags=[printable(os.fsdecode(raw))[:200]])
    assert os.fsencode(record.path) == path
    assert manager.is_temp_file(os.fsdecode(path))
    assert manager.get_record(path) == record
    assert [os.fsencode(key) for key in manager.files] == [path]
    assert [os.fsencode(record.path) for record in manager.files_due_within(10)] == [path]
    assert [os.fsencode(result.path) for result in manager.preview(force=True)] == [path]
    manager.hold(path)
    assert manager.cleanup(force=True) == 0
    assert manager.unhold(path)
    manager.renew(path, ttl=20)
    assert printable(record.path).isprintable()
    clock.advance(20)
    assert manager.cleanup() == 1
    assert entries(base_dir) == []
    assert len(manager.files) == 0
    assert_balanced(manager)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=names)
def test_any_legal_directory_name_can_be_a_base_directory_or_lie_below_one(
    real_client: redis.Redis, tmp_path: Path, clock: FakeClock, raw: bytes
) -> None:
    with TempFileManager(
        os.path.join(os.fsencode(tmp_path), raw), client=real_client, clock=clock, host="web-1"
    ) as manager:
        below = os.path.join(manager.base_dir, os.fsdecode(raw))
        os.mkdir(below)
        path = os.path.join(below, "file")
        with open(path, "w"):
            pass
        manager.register(path)
        assert Volume.decode(manager.volume.encode()) == manager.volume
        assert manager.clear_all() == 1
        assert not os.path.exists(path)
        os.rmdir(below)
        assert_balanced(manager)
