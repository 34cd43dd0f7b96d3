"""``tempfleet evict``: its output and its exit status; in memory, which is never completely free."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from tempfleet import Settings, TempFileManager
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer

Run = Callable[..., Result]
MARKS = {
    "TEMP_FILE_EVICT_MEMORY_ABOVE": "1",
    "TEMP_FILE_EVICT_MEMORY_DOWN_TO": "0",
    "TEMP_FILE_EVICTION_POLICY": "largest",
}


@pytest.fixture
def base_dir() -> Iterator[Path]:
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as at:
        yield Path(at)


@pytest.fixture
def run(real_client: redis.Redis, real_server: EmbeddedServer, base_dir: Path) -> Run:
    common = ["--base-dir", str(base_dir), "--host", "web-1", "--redis-url", real_server.unix_url]

    def run(*args: str, **env: str) -> Result:
        return CliRunner().invoke(
            main, [*common, *args], env={"TEMP_FILE_ALLOWED_ROOTS": str(base_dir), **env}
        )

    return run


@pytest.fixture
def files(real_client: redis.Redis, base_dir: Path) -> list[Path]:
    """The larger one first."""
    settings = Settings.load(base_dir=str(base_dir), host="web-1", allowed_roots=(str(base_dir),))
    manager = TempFileManager(settings=settings, client=real_client)
    paths = [base_dir / name for name in ("b", "a")]
    for path, size in zip(paths, (9000, 5000), strict=True):
        path.write_bytes(b"x" * size)
        manager.register(path)
    manager.close()
    return paths


def test_without_marks_it_names_the_setting_that_turns_it_on(run: Run, files: list[Path]) -> None:
    result = run("evict")
    assert (result.exit_code, result.stdout) == (
        0,
        "Eviction is off; set TEMP_FILE_EVICT_ABOVE to turn it on.\n",
    )
    assert json.loads(run("evict", "--json").stdout)["evicted"] == 0
    assert all(path.exists() for path in files)


def test_below_its_marks_it_does_nothing(run: Run, files: list[Path]) -> None:
    result = run("evict", TEMP_FILE_EVICT_MEMORY_ABOVE="99", TEMP_FILE_EVICT_MEMORY_DOWN_TO="98")
    assert (result.exit_code, result.stdout) == (0, "No disk is above its high mark.\n")


def test_a_dry_run_lists_the_files_and_the_real_run_deletes_them(run: Run, files: list[Path]) -> None:
    promised = json.loads(run("evict", "--dry-run", "--json", **MARKS).stdout)
    assert [file["path"] for file in promised["files"]] == [str(path) for path in files]
    assert "Would evict 2 files" in run("evict", "--dry-run", **MARKS).stdout
    assert all(path.exists() for path in files)
    result = run("evict", "--json", **MARKS)
    done = json.loads(result.stdout)
    paths = [[file["path"] for file in report["files"]] for report in (promised, done)]
    assert paths[0] == paths[1]
    assert (done["evicted"], done["freed_bytes"], done["freed_files"], done["stuck"]) == (
        2,
        5 * 4096,
        2,
        True,
    )
    assert (done["before"][0]["kind"], result.exit_code) == ("memory", 1)
    assert not any(path.exists() for path in files)


def test_it_exits_with_1_if_no_other_file_can_be_evicted(run: Run) -> None:
    result = run("evict", **MARKS)
    assert result.exit_code == 1
    assert "Evicted 0 files: wanted to free" in result.stdout
    assert "The disk is still too full, and no other file can be evicted." in result.stdout
