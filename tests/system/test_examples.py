"""The examples, as a reader runs them: each prints output, does what it prints, and leaves no file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from support import ROOT, wait_until
from tempfleet import VolumeStats
from tempfleet.embedded import EmbeddedServer
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.store import Store

EXAMPLES = ROOT / "examples"
EXAMPLE_NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))

Check = Callable[[VolumeStats, list[str]], bool]


def totals(stats: VolumeStats, **wanted: int) -> bool:
    return all(stats.total(name) == amount for name, amount in wanted.items())


CHECKS: dict[str, Check] = {
    "reports": lambda stats, lines: (
        totals(stats, registered=4, deleted=3, released=1)
        and "those of alice, bob, carol." in lines[4]
        and lines[-1].endswith("Carol's is her own: True.")
    ),
    "charts": lambda stats, lines: totals(stats, registered=6, deleted=6) and "3 charts" in lines[1],
    "etl": lambda stats, lines: (
        totals(stats, registered=3, deleted=3, missing=0)
        and [line.endswith("left on disk: []") for line in lines] == [True, True, False, True]
    ),
    "cache": lambda stats, lines: (
        totals(stats, registered=21, deleted=21) and lines[0] == "40 questions: 19 hits, 21 misses."
    ),
    "celery_app": lambda stats, lines: (
        totals(stats, registered=5, deleted=5, missing=0) and "Invoices: 0" in lines
    ),
    "watch_disk": lambda stats, lines: (
        totals(stats, registered=20, deleted=20) and lines[-2].endswith("is there: True")
    ),
}
"""Checks of each example after its end: the totals of its volume, and the lines that it printed."""


def run(name: str, temp: Path, **env: str) -> list[str]:
    """Returns the lines that an example printed. It must succeed and leave no file in *temp*, which it works in."""
    temp.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEMP_FILE_")}
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env=clean | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temp), "TEMP_FILE_ENV_FILE": ""} | env,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert list(temp.iterdir()) == []
    return result.stdout.splitlines()


def test_every_example_has_a_check_and_a_line_in_the_readme() -> None:
    assert sorted(CHECKS) == EXAMPLE_NAMES
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"- [{name}.py]({name}.py): " in readme for name in EXAMPLE_NAMES)


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_an_example_does_what_it_prints_and_its_counts_balance(
    name: str, tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    lines = run(name, tmp_path / "temp", TEMP_FILE_REDIS_URL=real_server.unix_url)
    (stats,) = Fleet(Store(real_client)).stats(Fleet(Store(real_client)).volumes()).values()
    assert CHECKS[name](stats, lines), (stats.as_dict(), lines)
    assert (stats.active, stats.imbalance) == (0, 0)


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_an_example_needs_no_redis_and_leaves_no_process(name: str, tmp_path: Path) -> None:
    temp = tmp_path / "temp"
    assert run(name, temp)

    def processes() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(temp) in " ".join(process.info["cmdline"] or ())
        ]

    wait_until(lambda: not processes())
