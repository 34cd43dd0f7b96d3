"""Leaving a ``with`` block while Redis is dead: it logs once, and never replaces the exception of the block."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import assert_balanced, python, wait_until
from tempfleet import RegistryUnavailable, Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.manager.temp_file import TempDirectory
from tempfleet.records import FileRecord


@dataclass
class Mortal:
    """A manager whose Redis can die, and come back with its data."""

    home: Path
    server: EmbeddedServer
    manager: TempFileManager

    def die(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        self.server = EmbeddedServer.start(self.home)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    home = tmp_path / "server"
    server = EmbeddedServer.start(home)
    settings = Settings.load(base_dir=str(tmp_path / "base"), redis_url=server.unix_url)
    mortal = Mortal(home, server, TempFileManager(max_age=1, settings=settings))
    yield mortal
    mortal.manager.close()
    mortal.server.stop()


BLOCKS: dict[str, Callable[[TempFileManager], AbstractContextManager[object]]] = {
    "create": lambda manager: manager.create(),
    "create in text mode": lambda manager: manager.create(mode="w", encoding="utf-8"),
    "create_dir": lambda manager: manager.create_dir(),
    "the manager": lambda manager: manager,
}


def left(mortal: Mortal, block: AbstractContextManager[object], error: Exception | None) -> None:
    """Enter the block, register a file, let Redis die, and leave the block."""
    with block:
        path = Path(mortal.manager.base_dir) / "file"
        path.touch()
        mortal.manager.register(path)
        mortal.die()
        if error is not None:
            raise error


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_exception_of_a_block_is_the_users_own_when_redis_has_died_in_it(
    kind: str, mortal: Mortal, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="the user's own") as raised:
        left(mortal, BLOCKS[kind](mortal.manager), ValueError("the user's own"))
    assert raised.value.__context__ is None
    (warning,) = warnings(caplog)
    assert "left until it expires: Redis at" in warning


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_that_succeeded_says_it_once_and_its_files_go_when_they_expire(
    kind: str, mortal: Mortal, caplog: pytest.LogCaptureFixture
) -> None:
    left(mortal, BLOCKS[kind](mortal.manager), None)
    (warning,) = warnings(caplog)
    assert "left until it expires: Redis at" in warning
    mortal.come_back()
    manager = mortal.manager
    wait_until(lambda: manager.stats().due == manager.stats().active > 0)
    manager.cleanup()
    assert [entry.name for entry in Path(manager.base_dir).iterdir() if entry.name[0] != "."] == []
    assert_balanced(manager)


def test_a_failed_creation_is_the_error_although_it_cannot_be_undone(
    manager: TempFileManager, caplog: pytest.LogCaptureFixture
) -> None:
    record = manager.create_dir().record

    def full(_name: str) -> None:
        raise OSError(28, "No space left on device")

    def dead(_record: FileRecord) -> None:
        raise RegistryUnavailable("Redis gave no answer")

    with pytest.raises(OSError, match="No space left"):
        TempDirectory(
            register=lambda _made: record, make=full, identify=lambda r: r, unmake=dead, delete=dead
        )
    assert "left until it expires: Redis gave no answer" in caplog.text


@pytest.mark.parametrize("error", [None, ValueError("the user's own")])
def test_data_that_cannot_be_written_is_an_error_only_of_a_block_that_succeeded(
    error: Exception | None, manager: TempFileManager
) -> None:
    with pytest.raises(OSError if error is None else ValueError), manager.create() as file:
        file.made.close()
        file.made = Path("/dev/full").open("wb")  # noqa: SIM115 - the block closes it
        file.write(b"x")
        if error is not None:
            raise error
    assert manager.stats().active == 0


SUSPENDED = """
import logging, sys
from tempfleet import TempFileManager
logging.basicConfig()
manager = TempFileManager(sys.argv[1], redis_url=sys.argv[2])
def work():
    with manager.create() as file, manager.create_dir() as directory, manager:
        manager.register(file)
        yield
suspended = work()
next(suspended)
"""


@pytest.mark.process
def test_a_block_that_is_left_while_the_interpreter_ends_does_not_hang(
    mortal: Mortal, tmp_path: Path
) -> None:
    """Python leaves the blocks of suspended generators then. Python 3.11 starts threads that never run."""
    process = python(SUSPENDED, tmp_path / "base", mortal.server.unix_url, stderr=subprocess.PIPE)
    try:
        errors = process.communicate(timeout=20)[1]
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
