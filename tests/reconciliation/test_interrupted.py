"""The recovery after a process died between moving a file and unlinking it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.reconciliation.interrupted import InterruptedMoves

DYING = """
import os, signal, sys
from tempfleet import TempFileManager
from tempfleet.deletion import failpoints as faults

def die(point):
    if point == "guarded.moved":
        os.kill(os.getpid(), signal.SIGKILL)

faults.install(die)
TempFileManager(sys.argv[1], host="web-1", redis_url=sys.argv[2]).cleanup(force=True)
"""


@pytest.mark.process
def test_the_next_clean_up_moves_the_file_back_before_the_lease_ends(
    base_dir: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1")
    manager = TempFileManager(settings=settings, client=real_client)
    path = base_dir / "a.txt"
    path.write_text("text")
    manager.register(path)
    dying = subprocess.run(
        [sys.executable, "-c", DYING, str(base_dir), real_server.unix_url],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert dying.returncode == -signal.SIGKILL
    assert not path.exists()
    assert manager.cleanup() == 0, "the dead process still has the lease"
    assert path.read_text() == "text"
    assert [name for _, _, names in os.walk(base_dir) for name in names] == ["a.txt"]
    manager.close()


def test_a_foreign_file_beside_the_journals_stops_no_clean_up(
    manager: TempFileManager, base_dir: Path
) -> None:
    manager.create().close()
    manager.clear_all()
    (base_dir / f".tempfleet-{os.geteuid()}" / "note.bak").touch()
    manager.create().close()
    manager.cleaner.interrupted_moves = InterruptedMoves(manager.registry, manager.cleaner.deleter)
    assert manager.clear_all() == 1
