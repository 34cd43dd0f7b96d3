"""The demo is the first thing that a user sees. Its output must be true, and it must leave nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from support import console, console_env, is_gone, wait_until
from tempfleet import VolumeStats
from tempfleet_tasks.demo.checks import Facts, check_facts

ROWS = [
    "Registered", "Deleted by host-a", "Deleted by host-b", "Killed holding a lease", "Leases recovered",
    "Tried again", "Worst lag", "Left on disk", "Left in Redis", "Counts balance",
]  # fmt: skip


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    """A temp directory with a space in its name."""
    directory = tmp_path / "temp dir"
    directory.mkdir()
    return directory


def test_the_demo_passes_every_check_and_leaves_nothing_behind(tmp_path: Path, temp: Path) -> None:
    process = console(
        "demo", "--files", "300", "--json",
        env=console_env(tmp_path, TMPDIR=str(temp)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, out + err
    document = json.loads(out)
    assert document["ok"] is True
    assert [row["name"] for row in document["rows"]] == ROWS
    assert all(row["ok"] for row in document["rows"])
    assert "kill -9" in err
    assert list(temp.iterdir()) == []


def test_an_interrupted_demo_takes_everything_down(tmp_path: Path, temp: Path) -> None:
    process = console(
        "demo", env=console_env(tmp_path, TMPDIR=str(temp)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    children = wait_until(lambda: three_or_more(process.pid), 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert all(map(is_gone, children))
    assert list(temp.iterdir()) == []


def three_or_more(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children()
    return children if len(children) >= 3 else []


# -- the checks

GONE = VolumeStats(
    now_ms=0, waiting=0, leased=0, claims=0, held=0, dead=0, records=0, retrying=0, behind=0, due=0, oldest_ms=None,
)  # fmt: skip
CLEAN = replace(GONE, totals={"registered": 10, "deleted": 10, "lag:0.5": 10, "lag_ms": 900})
KILLED = replace(
    GONE,
    totals={"registered": 10, "deleted": 8, "missing": 2, "recovered": 5, "leases_expired": 1, "lag:5": 8},
)
RIGHT = Facts(
    files=20, by_library=13, by_message=7, stats={"host-a": CLEAN, "host-b": KILLED},
    on_disk={"host-a": 0, "host-b": 0}, killed="host-b", held=5, seconds=15,
)  # fmt: skip


def failed_checks(facts: Facts) -> list[str]:
    return [row.name for row in check_facts(facts) if not row.ok]


def test_files_that_the_killed_worker_had_unlinked_are_right_and_are_not_called_deleted() -> None:
    rows = {row.name: row for row in check_facts(RIGHT)}
    assert failed_checks(RIGHT) == []
    assert rows["Deleted by host-b"].value == "8"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(RIGHT, by_message=6), "Registered"),
        (replace(RIGHT, killed="", held=0), "Killed holding a lease"),
        (replace(RIGHT, on_disk={"host-a": 1}), "Left on disk"),
        (replace(RIGHT, files=21), "Registered"),
    ],
)
def test_a_wrong_fact_fails_its_check(facts: Facts, name: str) -> None:
    assert failed_checks(facts) == [name]


def test_a_file_that_vanished_without_a_kill_to_explain_it_is_wrong() -> None:
    lost = replace(KILLED, totals=KILLED.totals | {"missing": 6, "deleted": 4})
    assert "Deleted by host-b" in failed_checks(replace(RIGHT, stats={"host-a": CLEAN, "host-b": lost}))


def test_a_file_that_stays_in_the_registry_is_wrong() -> None:
    stuck = replace(KILLED, waiting=1, totals=KILLED.totals | {"deleted": 7})
    failed = failed_checks(replace(RIGHT, stats={"host-a": CLEAN, "host-b": stuck}))
    assert failed == ["Deleted by host-b", "Left in Redis"]
