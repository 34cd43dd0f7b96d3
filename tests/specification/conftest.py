"""Managers as the specification's examples create them, and a directory for the files that the examples leave."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from specification.material import New
from tempfleet import Settings, TempFileManager
from tempfleet.testing import FakeClock


@pytest.fixture
def new(
    redis_client: redis.Redis, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[New]:
    """
    Creates ``TempFileManager(base_dir, max_age)`` on the test's Redis and clock. Settings can follow by field name.
    Without arguments the base directory is ``tmp_path / "base"``.
    """
    (tmp_path / "tmp").mkdir(mode=0o700)
    # The examples leave files in it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    managers = []

    def make(
        base_dir: str | Path = tmp_path / "base", max_age: float | None = None, **settings: object
    ) -> TempFileManager:
        manager = TempFileManager(
            base_dir,
            max_age,
            settings=Settings.load(host="web-1", **settings),
            client=redis_client,
            clock=clock,
        )
        managers.append(manager)
        return manager

    yield make
    for manager in managers:
        manager.close()
