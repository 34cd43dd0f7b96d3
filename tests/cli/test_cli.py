"""The laws of the console: what it prints for people and for programs, and its exit statuses."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner, Result

from support import wait_until
from tempfleet import Settings, TempFileManager
from tempfleet.cli import group, main
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import State
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import DISK, NOT_SERVED
from tempfleet.registry.values import Nack

Run = Callable[..., Result]


@pytest.fixture
def console(real_client: redis.Redis, real_server: EmbeddedServer, base_dir: Path) -> Run:
    """Runs ``tempfleet`` on a real server, as host web-1."""
    base_dir.mkdir(mode=0o700)
    common = ["--base-dir", str(base_dir), "--host", "web-1", "--redis-url", real_server.unix_url]

    def run(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(main, [*common, *args], **options)

    return run


@pytest.fixture
def volume(console: Run, real_client: redis.Redis, base_dir: Path) -> TempFileManager:
    """The same base directory, through the library."""
    return TempFileManager(settings=Settings.load(base_dir=str(base_dir), host="web-1"), client=real_client)


@pytest.fixture
def a_file(base_dir: Path, console: Run) -> Path:
    return make(base_dir / "a.txt")


def make(path: Path, text: str = "text") -> Path:
    path.write_text(text)
    return path


def answer(result: Result, status: int = 0) -> Any:
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def complaint(result: Result, status: int) -> Any:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    return json.loads(result.stderr)


def bury(volume: TempFileManager, path: Path) -> None:
    claim = volume.registry.claim_paths([str(path)], lease_ms=60_000, until_ms=volume.registry.now_ms())
    assert volume.registry.nack(claim.token, [Nack(str(path), bury=True, reason="EACCES")]) == 1


# -- files


def test_a_registered_file_is_listed_with_its_time_to_live(console: Run, a_file: Path) -> None:
    (record,) = answer(console("register", str(a_file), "--ttl", "2h", "--tag", "report", "--json"))[
        "registered"
    ]
    assert record["deadline_ms"] - record["registered_ms"] == 2 * 3600 * 1000
    listed = answer(console("ls", "--json"))
    assert [file["path"] for file in listed["files"]] == [str(a_file)]
    assert listed["files"][0]["tags"] == ["report"]
    assert not listed["more"]


def test_register_shows_how_it_narrowed_the_mode_of_a_file(console: Run, base_dir: Path) -> None:
    wide, narrow = make(base_dir / "wide"), make(base_dir / "narrow")
    wide.chmod(0o644)
    narrow.chmod(0o600)
    first, second = console("register", str(wide), str(narrow)).stdout.splitlines()
    assert first.endswith("Its mode was 0644 and is 0600 (TEMP_FILE_PERMISSION_MASK).")
    assert second.endswith("due in 1 h.")
    wide.chmod(0o644)
    (record,) = answer(console("register", str(wide), "--json"))["registered"]
    assert (record["mode_before"], record["mode"]) == ("0644", "0600")
    link = base_dir / "link"
    link.symlink_to(wide)
    wide.chmod(0o644)
    (record,) = answer(console("register", str(wide), str(link), "--json"), status=1)["registered"]
    assert record["mode_before"] == "0644", "a link that is refused has a mode of its own"


def test_register_exits_with_1_if_one_file_fails_and_registers_the_others(
    console: Run, a_file: Path, base_dir: Path
) -> None:
    reply = answer(console("register", str(base_dir / "none"), str(a_file), "--json"), status=1)
    assert [file["path"] for file in reply["registered"]] == [str(a_file)]
    assert [error["error"] for error in reply["errors"]] == ["FileMissing"]


def test_a_directory_is_registered_only_with_the_option_directory(console: Run, base_dir: Path) -> None:
    directory = base_dir / "parts"
    directory.mkdir()
    assert console("register", str(directory)).exit_code == 1
    (record,) = answer(console("register", str(directory), "--directory", "--json"))["registered"]
    assert record["directory"] is True


def test_ls_lists_the_files_near_their_expiry(console: Run, base_dir: Path) -> None:
    console("register", str(make(base_dir / "late")), "--ttl", "1h")
    console("register", str(make(base_dir / "soon")), "--ttl", "0.01")
    console("register", str(make(base_dir / "held")), "--ttl", "0.01")
    console("hold", str(base_dir / "held"))

    def names() -> list[str]:
        return [Path(file["path"]).name for file in answer(console("ls", "--near-expiry", "--json"))["files"]]

    assert wait_until(names) == ["soon"]


def test_ls_filters_sorts_and_warns_if_there_are_more_files(console: Run, base_dir: Path) -> None:
    for number in range(4):
        path = make(base_dir / f"{number}.txt", "x" * number)
        console("register", str(path), "--ttl", f"{10 - number}m", "--tag", "odd" if number % 2 else "even")

    def names(*args: str) -> list[str]:
        return [Path(file["path"]).stem for file in answer(console("ls", "--json", *args))["files"]]

    assert names() == ["3", "2", "1", "0"]
    assert names("--sort", "path") == ["0", "1", "2", "3"]
    assert names("--sort", "size") == ["3", "2", "1", "0"]
    assert names("--tag", "odd") == ["3", "1"]
    assert names("--prefix", str(base_dir / "2.txt")) == ["2"]
    assert names("--prefix", os.path.relpath(base_dir / "2.txt")) == ["2"]
    assert names("--prefix", str(base_dir / "2")) == []
    assert names("--prefix", str(base_dir / "2*")) == ["2"]
    assert names("--prefix", str(base_dir)) == names("--prefix", f"{base_dir}/") == ["3", "2", "1", "0"]
    assert names("--due-within", "8m") == ["3", "2"]
    assert names("--due-within", "8m", "--limit", "1") == ["3"]
    assert names("--state", "held") == []
    cut = console("ls", "--limit", "2")
    assert len(cut.stdout.splitlines()) == 3
    assert "more than 2" in cut.stderr
    assert answer(console("ls", "--limit", "2", "--json"))["more"] is True


def test_renew_moves_the_deadline_later_and_unregister_leaves_the_file(console: Run, a_file: Path) -> None:
    (record,) = answer(console("register", str(a_file), "--ttl", "1m", "--json"))["registered"]
    renewed = answer(console("renew", str(a_file), "--ttl", "1h", "--json"))
    assert renewed["deadline_ms"] >= record["registered_ms"] + 3600 * 1000
    assert answer(console("unregister", str(a_file), "--json"))["released"] is True
    assert a_file.exists()
    assert answer(console("ls", "--json"))["files"] == []


def test_renew_reports_that_the_deadline_is_already_later(console: Run, a_file: Path) -> None:
    console("register", str(a_file), "--ttl", "5h")
    assert console("renew", str(a_file), "--ttl", "6h").stdout == f"{a_file} is due in 6 h.\n"
    output = console("renew", str(a_file), "--ttl", "1h").stdout
    assert output.startswith(f"{a_file} is due in 6 h already: its deadline is later")
    assert answer(console("renew", str(a_file), "--ttl", "1h", "--json"))["moved"] is False


def test_commands_for_one_file_print_the_absolute_path(
    console: Run, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(a_file.parent)
    for command in ("register", "renew", "hold", "unhold", "unregister"):
        assert f"{a_file}" in console(command, a_file.name).stdout, command
    console("register", a_file.name)
    for command in ("renew", "hold", "unhold", "unregister"):
        assert answer(console(command, a_file.name, "--json"))["path"] == str(a_file), command


def test_a_held_file_survives_a_forced_cleanup_until_unhold(console: Run, a_file: Path) -> None:
    console("register", str(a_file))
    assert answer(console("hold", str(a_file), "--for", "1h", "--json"))["held_seconds"] == 3600
    assert answer(console("cleanup", "--force", "--json"))["deleted"] == 0
    assert answer(console("unhold", str(a_file), "--json"))["lifted"] is True
    assert answer(console("unhold", str(a_file), "--json"), status=1)["lifted"] is False
    assert answer(console("cleanup", "--force", "--json"))["deleted"] == 1
    assert not a_file.exists()


def test_ls_and_explain_show_the_reason_and_the_end_of_a_hold(console: Run, a_file: Path) -> None:
    console("register", str(a_file))
    answer(console("hold", str(a_file), "--for", "2h", "--reason", "ticket\n117", "--json"))
    (listed,) = answer(console("ls", "--json"))["files"]
    assert (listed["state"], listed["hold_reason"]) == ("held", "ticket\n117")
    assert listed["due_ms"] > listed["registered_ms"]
    assert "ticket\\n117" in console("ls").stdout
    explained = console("explain", str(a_file)).stdout
    assert "is held for 2 h, because: ticket\\n117." in explained
    assert "The hold keeps it. If it were due now without the hold, it would be deleted." in explained
    assert (
        complaint(console("hold", str(a_file), "--reason", "x" * 501, "--json"), 2)["error"]
        == "ReasonTooLong"
    )


def test_two_holds_are_shown_and_ended_one_by_one(console: Run, a_file: Path) -> None:
    console("register", str(a_file))
    console("hold", str(a_file), "--for", "2h", "--reason", "mine")
    named = console("hold", str(a_file), "--name", "legal", "--reason", "case 4").stdout
    assert named.endswith("is held; tempfleet unhold --name legal --force ends the hold.\n")
    (listed,) = answer(console("ls", "--state", "held", "--json"))["files"]
    assert (listed["keepers"], listed["hold_reason"], listed["due_ms"]) == (2, "case 4", None)
    assert "case 4 (+1 hold)" in console("ls").stdout
    assert "1 (2 holds)" in console("status").stdout
    assert answer(console("status", "--json"))["keepers"] == 2
    shorter = console("hold", str(a_file), "--for", "1h").stdout
    assert shorter.endswith("is held for 2 h, as before: the later end counts.\n")
    assert answer(console("hold", str(a_file), "--for", "1h", "--json"))["moved"] is False
    refusal = complaint(console("unhold", str(a_file), "--name", "legal", "--json"), 1)
    assert refusal["error"] == "HeldByAnother"
    assert "has no such hold; it is still held by" in console("unhold", str(a_file), "--name", "no").stdout
    assert console("unhold", str(a_file)).stdout.endswith("is still held by legal.\n")
    again = console("unhold", str(a_file))
    assert (again.exit_code, "has no such hold; it is still held by legal" in again.stdout) == (1, True)
    answered = answer(console("unhold", str(a_file), "--name", "legal", "--force", "--json"))
    assert (answered["lifted"], answered["held_by"]) == (True, [])
    assert (
        complaint(console("hold", str(a_file), "--name", "a\nb", "--json"), 2)["error"] == "InvalidHoldName"
    )


def test_ls_shows_an_ended_hold_with_the_deadline_of_the_file(console: Run, a_file: Path) -> None:
    console("register", str(a_file), "--ttl", "2h")
    console("hold", str(a_file), "--for", "0.01s")
    wait_until(lambda: "hold ended" in console("ls", "--state", "held").stdout)
    assert console("ls").stdout.splitlines()[1].split()[:5] == ["hold", "ended", "in", "2", "h"]
    assert answer(console("ls", "--json"))["files"][0]["state"] == "held"
    assert "the hold has ended, and it is due in 2 h." in console("explain", str(a_file)).stdout


def test_explain_reports_a_quarantined_file_by_its_original_path(
    console: Run, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "2h")
    assert console("explain", str(a_file)).exit_code == 1
    console("register", str(a_file))
    console("cleanup", "--force")
    explained = console("explain", str(a_file))
    restorable = "tempfleet restore brings it back."
    assert explained.stdout == f"{a_file} is in quarantine and will be deleted in 2 h; {restorable}\n"
    assert explained.exit_code == 0


def test_a_dry_run_lists_what_would_be_deleted_and_changes_nothing(console: Run, a_file: Path) -> None:
    console("register", str(a_file))
    assert answer(console("cleanup", "--dry-run", "--json"))["files"] == []
    would = answer(console("cleanup", "--dry-run", "--force", "--json"))
    assert [(file["path"], file["outcome"]) for file in would["files"]] == [(str(a_file), "deleted")]
    assert a_file.exists()
    assert answer(console("status", "--json"))["waiting"] == 1


def test_a_dry_run_and_the_clean_up_count_quarantined_files_alike(
    console: Run, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "1h")
    console("register", str(a_file))
    shown = console("cleanup", "--dry-run", "--force").output
    assert "1 would be quarantined" in shown
    assert shown.splitlines()[1].split() == ["quarantined", "0", "B", str(a_file)], "no reason is shown"
    assert answer(console("cleanup", "--dry-run", "--force", "--json"))["counts"] == {"set_aside": 1}
    report = answer(console("cleanup", "--force", "--json"))
    assert (report["set_aside"], report["deleted"]) == (1, 0)
    console("register", str(make(a_file)))
    assert console("cleanup", "--force").output.startswith("Quarantined 1 file; deleted 0 files (0 B) in ")


def test_a_dry_run_says_what_happens_to_files_that_would_not_be_deleted(
    console: Run, base_dir: Path, a_file: Path
) -> None:
    replaced, missing = make(base_dir / "b.txt"), make(base_dir / "c.txt")
    console("register", str(a_file), str(replaced), str(missing))
    new = make(base_dir / "new")
    new.with_name("link").hardlink_to(new)  # so it is no rewrite
    new.replace(replaced)
    missing.unlink()
    with a_file.open():
        shown = console("cleanup", "--dry-run", "--force").stdout
        would = answer(console("cleanup", "--dry-run", "--force", "--json"))
    for words in ("kept (busy)", "kept (replaced)", "dropped (missing)"):
        assert f"1 would be {words}" in shown.splitlines()[-1]
        assert sum(line.startswith(words) for line in shown.splitlines()) == 1
    assert would["counts"] == {"busy": 1, "replaced": 1, "missing": 1}, "the words for programs"


def test_cleanup_force_reports_quarantined_files_and_a_purge_deletes_them(
    console: Run, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "1h")
    console("register", str(a_file))
    stays = "1 file stays in quarantine; tempfleet cleanup --quarantine"
    assert stays in console("cleanup", "--force").stdout
    assert stays in console("cleanup", "--force", "--dry-run").stdout
    assert answer(console("cleanup", "--force", "--json"))["quarantined"] == 1
    assert console("cleanup", "--force", "--quarantine").exit_code == 2
    would = answer(console("cleanup", "--quarantine", "--dry-run", "--json"))
    assert [(file["outcome"], file["original_path"]) for file in would["files"]] == [("deleted", str(a_file))]
    assert str(a_file) in console("cleanup", "--quarantine", "--dry-run").stdout
    report = answer(console("cleanup", "--quarantine", "--json"))
    assert (report["deleted"], report["quarantined"]) == (1, 0)
    assert "no file is in quarantine" in console("cleanup", "--quarantine", "--dry-run").stdout
    assert console("restore", str(a_file)).exit_code == 1


def test_a_quarantined_file_is_shown_by_its_original_path(
    console: Run, a_file: Path, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "1h")
    console("register", str(a_file))
    console("cleanup", "--force")
    console("register", str(make(base_dir / "b.txt")))
    quarantined, waiting = console("ls", "--sort", "due").stdout.splitlines()[1:]
    assert (quarantined.split()[0], quarantined.split()[-1]) == ("quarantined", str(a_file))
    assert (waiting.split()[0], waiting.split()[-1]) == ("waiting", str(base_dir / "b.txt"))
    for args in (["--state", "quarantined"], ["--prefix", str(a_file)]):
        (file,) = answer(console("ls", *args, "--json"))["files"]
        assert (file["quarantined"], file["original_path"]) == (True, str(a_file))
    assert len(answer(console("ls", "--state", "waiting", "--json"))["files"]) == 1
    counts = dict(line.rsplit(maxsplit=1) for line in console("status").stdout.splitlines()[1:])
    assert (counts["Waiting"], counts["In quarantine"]) == ("1", "1")
    assert answer(console("status", "--json"))["quarantined"] == 1


def test_restore_lists_the_quarantined_files_with_the_time_left(
    console: Run, volume: TempFileManager, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "2h")
    console("register", str(a_file))
    console("cleanup", "--force")
    assert console("restore").stdout.splitlines()[0].split() == ["DUE", "SIZE", "PATH"]
    assert console("restore").stdout.splitlines()[1].split() == ["in", "2", "h", "4", "B", str(a_file)]
    listed = answer(console("restore", "--json"))
    assert 0 < listed["files"][0]["due_ms"] - listed["now_ms"] <= 7200 * 1000
    make(a_file)
    assert "cannot be restored: the name is taken" in console("restore", str(a_file)).stderr
    a_file.unlink()
    volume.registry.unregister([listed["files"][0]["aside_path"]])
    assert console("restore").stdout.splitlines()[1].startswith("not registered")
    assert console("restore", str(a_file)).stdout == "1 file was restored.\n"


def test_cleanup_exits_with_1_if_a_file_had_to_stay(
    console: Run, volume: TempFileManager, base_dir: Path
) -> None:
    away = base_dir / "away"
    away.mkdir()
    path = make(away / "a.txt")
    console("register", str(path))
    away.rename(base_dir / "moved")
    away.symlink_to(base_dir / "moved")  # the way to the file now leads through a symlink
    reply = console("cleanup", "--force", "--json")
    report = json.loads(reply.stdout)
    assert reply.exit_code == 1
    assert sum(report[word] for word in ("busy", "refused", "unavailable", "failed")) == 1
    assert (base_dir / "moved" / "a.txt").exists()


def test_dead_letters_are_listed_retried_and_forgotten(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    volume.register(a_file)
    bury(volume, a_file)
    (letter,) = answer(console("dead", "ls", "--json"))["files"]
    assert (letter["path"], letter["last_error"]) == (str(a_file), "EACCES")
    assert "EACCES: the worker may not write to the directory that holds it." in console("dead", "ls").stdout
    assert answer(console("dead", "retry", "--all", "--dry-run", "--json"))["to_be_revived"] == 1
    record = volume.get_record(a_file)
    assert record is not None and record.state is State.DEAD, "nothing was changed"
    assert answer(console("dead", "retry", "--all", "--json"))["revived"] == 1
    record = volume.get_record(a_file)
    assert record is not None and record.state is State.WAITING
    assert console("dead", "forget", str(a_file)).exit_code == 1, "it waits, so it is no dead letter"
    bury(volume, a_file)
    explained = console("explain", str(a_file)).stdout
    assert (
        "It was tried once; the last error was EACCES: the worker may not write to the directory" in explained
    )
    assert "run the worker as its owner." in explained
    assert console("dead", "retry", "--all", "--dry-run").stdout == "1 file would be retried.\n"
    assert answer(console("dead", "forget", str(a_file), "--json"))["forgotten"] == 1
    assert a_file.exists()
    assert volume.stats().imbalance == 0
    assert console("dead", "retry").exit_code == 2


# -- names of files


def test_control_characters_and_markup_in_a_name_are_shown_as_text(console: Run, base_dir: Path) -> None:
    hostile = make(base_dir / "[red]x[b]\x1b[2J\nb")
    console("register", str(hostile))
    shown = console("ls").stdout
    assert "[red]x[b]\\x1b[2J\\nb" in shown
    assert len(shown.splitlines()) == 2
    assert answer(console("ls", "--json"))["files"][0]["path"] == str(hostile)


def test_a_name_that_is_not_utf8_goes_through_json_and_back(console: Run, base_dir: Path) -> None:
    raw = os.fsencode(base_dir) + b"/\xff\xfe.bin"
    Path(os.fsdecode(raw)).touch()
    (record,) = answer(console("register", os.fsdecode(raw), "--json"))["registered"]
    assert os.fsencode(record["path"]) == raw
    assert console("ls").exit_code == 0


# -- the fleet


def test_hosts_shows_which_hosts_are_live_and_the_files_that_wait(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    volume.register(a_file, ttl=0.001)
    (host,) = answer(console("hosts", "--json"))["hosts"]
    assert (host["host"], host["state"], host["silent_seconds"]) == ("web-1", "unknown", None)
    Fleet(volume.store).heartbeat("web-1")
    (host,) = answer(console("hosts", "--json"))["hosts"]
    assert host["state"] == "live"
    assert host["volumes"] == [
        {"base_dir": str(volume.base_dir), "active": 1, "due": 1, "dead": 0, "refused": ""}
    ]
    assert "web-1" in console("hosts").stdout
    volume.registry.set_meta(NOT_SERVED, "outside-roots")
    assert answer(console("hosts", "--json"))["hosts"][0]["volumes"][0]["refused"] == "outside-roots"
    assert f"does not serve {volume.base_dir} (outside-roots)" in console("hosts").stdout


def test_a_terminal_of_80_columns_shows_hosts_with_long_names_whole(
    console: Run, volume: TempFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "ip-10-20-30-40.eu-central-1.compute.internal"
    volume.store.client.zadd("tempfleet:hosts", {name: 1, "x" * 63: volume.registry.now_ms()})
    monkeypatch.setattr("tempfleet.cli.console.Console.is_rich", True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = console("hosts").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "Host" in line)
    assert head.split() == ["Host", "State", "Last", "heard", "Volumes", "Files", "Due", "Dead"]
    first_column = "".join(line[: head.index("State")].strip() for line in lines[lines.index(head) + 2 :])
    assert first_column == name + "x" * 63


def test_a_retired_host_is_unknown_and_its_files_stay(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    volume.register(a_file)
    Fleet(volume.store).heartbeat("web-1")
    would = answer(console("hosts", "retire", "web-1", "--dry-run", "--json"))
    assert (would["retired"], would["records"]) == (False, 1)
    assert answer(console("hosts", "--json"))["hosts"][0]["state"] == "live"
    assert answer(console("hosts", "retire", "web-1", "--force", "--json"))["retired"] is True
    (host,) = answer(console("hosts", "--json"))["hosts"]
    assert (host["state"], host["volumes"][0]["active"]) == ("unknown", 1)
    assert complaint(console("hosts", "retire", "web-1", "--json"), 1)["error"] == "UnknownHost"


def test_a_forgotten_host_is_shown_before_it_is_asked_for_and_then_gone(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    record = volume.register(a_file)
    volume.hold(a_file)
    wait_until(lambda: volume.registry.now_ms() > record.registered_ms)
    would = console("hosts", "forget", "web-1", "--dry-run")
    assert (would.exit_code, "1 record of web-1 would stay: their files are held" in would.stdout) == (
        1,
        True,
    )
    everything = ("hosts", "forget", "web-1", "--force")
    would = answer(console(*everything, "--dry-run", "--json"))
    assert (would["dry_run"], would["hosts"][0]["forgotten"], would["hosts"][0]["gone"]) == (True, 1, True)
    assert console(*everything, input="n\n").exit_code == 1
    assert console(*everything).exit_code == 130, "nobody answers"
    assert volume.is_temp_file(a_file)
    done = console(*everything, input="y\n")
    assert (done.exit_code, "web-1: 1 record forgotten.\nThe files stay on their disks." in done.stdout) == (
        0,
        True,
    )
    assert a_file.exists()
    assert answer(console("hosts", "--json"))["hosts"] == []
    assert complaint(console("hosts", "forget", "web-1", "--yes", "--json"), 1)["error"] == "UnknownHost"


def test_health_and_explain_print_what_keeps_files_as_sentences(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    volume.register(a_file, ttl=3600)
    note = "No worker has ever run and no program has cleaned up"
    health = console("health")
    assert (health.exit_code, note in health.stdout, "Level" in health.stdout) == (0, True, False)
    assert note in console("explain", str(a_file)).stdout
    Fleet(volume.store).heartbeat("web-2")
    degraded = console("health")
    assert (degraded.exit_code, "{" in degraded.stdout) == (1, False)
    assert "No worker of host web-1 is live (live: web-2)" in degraded.stdout
    (problem,) = answer(console("health", "--json"), status=1)["problems"]
    assert (problem["code"], problem["level"]) == ("no-worker", "warning")


def test_hosts_are_forgotten_by_the_length_of_their_silence(console: Run, volume: TempFileManager) -> None:
    client, fleet = volume.store.client, Fleet(volume.store)
    now_ms = volume.registry.now_ms()
    client.zadd("tempfleet:hosts", {"old": now_ms - 40 * 86_400_000, "older": 1, "newer": now_ms - 3_600_000})
    fleet.heartbeat("live")
    assert console("hosts", "forget").exit_code == 2
    assert "No host has been silent" in console("hosts", "forget", "--silent-for", "100000d").stdout
    hosts = answer(console("hosts", "forget", "--silent-for", "30d", "--yes", "--json"))["hosts"]
    assert [host["host"] for host in hosts] == ["old", "older"]
    assert [host.name for host in fleet.hosts()] == ["live", "newer"]
    assert complaint(console("hosts", "forget", "newer", "live", "--yes", "--json"), 1)["error"] == "HostLive"
    assert [host.name for host in fleet.hosts()] == ["live", "newer"], "nothing was changed"


def test_register_warns_about_a_host_that_no_worker_serves(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    assert "warning" not in console("register", str(a_file)).stderr, "there is no fleet yet"
    Fleet(volume.store).heartbeat("web-2")
    reply = console("register", str(a_file))
    assert (reply.exit_code, "No worker of host web-1 is live (live: web-2)" in reply.stderr) == (0, True)


def test_a_live_host_is_not_retired_by_mistake(console: Run, volume: TempFileManager) -> None:
    Fleet(volume.store).heartbeat("web-1")
    assert complaint(console("hosts", "retire", "web-1", "--json"), 1)["error"] == "HostLive"
    assert Fleet(volume.store).live_hosts() == {"web-1"}


def test_status_shows_one_volume_or_all(console: Run, a_file: Path, tmp_path: Path) -> None:
    console("register", str(a_file))
    assert answer(console("status", "--json"))["waiting"] == 1
    assert answer(console("--base-dir", str(tmp_path / "other"), "status", "--json"))["waiting"] == 0
    (only,) = answer(console("status", "--all", "--json"))["volumes"]
    assert (only["host"], only["waiting"]) == ("web-1", 1)


def test_the_status_of_health_is_0_healthy_1_degraded_2_unhealthy(
    console: Run, volume: TempFileManager, a_file: Path, tmp_path: Path
) -> None:
    assert answer(console("health", "--json"))["status"] == "healthy"
    volume.register(a_file)
    bury(volume, a_file)
    assert answer(console("health", "--json"), status=1)["status"] == "degraded"
    gone = console("--redis-url", f"unix://{tmp_path}/none.sock", "health", "--json")
    assert answer(gone, status=2)["status"] == "unhealthy"


# -- exit statuses and errors


@pytest.mark.parametrize(
    ("args", "status", "error"),
    [
        (["renew", "/nowhere/x"], 1, "NotRegistered"),
        (["register", "--ttl", "0", "x"], 2, "InvalidTTL"),
        (["register", "--ttl", "soon", "x"], 2, "BadParameter"),
        (["register", "--tag", "two\nlines", "x"], 2, "InvalidTag"),
        (["ls", "--tag", ""], 2, "InvalidTag"),
        (["cleanup", "--tag", "x" * 201], 2, "InvalidTag"),
        (["ls", "--state", "gone"], 2, "BadParameter"),
        (["frobnicate"], 2, "UsageError"),
        (["--host", "a|b", "status"], 2, "SettingsError"),
        (["--redis-url", "http://x", "status"], 2, "SettingsError"),
        (["--redis-url", "redis://user:secret@h:port", "status"], 2, "SettingsError"),
        (["--base-dir", "/proc/nope", "cleanup"], 2, "SettingsError"),
        (["--redis-url", "redis://127.0.0.1:1", "status"], 3, "RegistryUnavailable"),
        (["--redis-url", "embedded:///proc/nope", "status"], 3, "EmbeddedServerError"),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_status_for_its_kind(
    console: Run, args: list[str], status: int, error: str
) -> None:
    for_programs = complaint(console("--json", *args), status)
    assert error in for_programs["error"] or error == "UsageError"
    for_people = console(*args)
    assert (for_people.exit_code, for_people.stdout) == (status, "")
    assert "Traceback" not in for_people.stderr
    assert for_programs["message"] in for_people.stderr
    assert "secret" not in for_people.stderr


def test_a_misspelt_variable_is_a_warning_that_suggests_the_right_name(
    console: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_MAXAGE", "5")
    reply = console("status")
    assert reply.exit_code == 0
    assert "did you mean TEMP_FILE_MAX_AGE?" in reply.stderr
    assert json.loads(console("status", "--json").stderr)["warning"].startswith("TEMP_FILE_MAXAGE")


def test_an_audit_log_in_a_missing_directory_is_a_settings_error(
    console: Run, a_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_AUDIT_LOG", str(tmp_path / "none" / "audit.log"))
    reply = complaint(console("register", str(a_file), "--json"), 2)
    assert (reply["error"], "its directory does not exist" in reply["message"]) == ("SettingsError", True)
    assert "TEMP_FILE_AUDIT_LOG" in console("doctor").stdout
    (tmp_path / "none").mkdir()
    assert console("register", str(a_file)).exit_code == 0


@pytest.mark.parametrize(
    ("command", "status"),
    [("status", 0), ("status --all", 0), ("ls", 0), ("hosts", 0), ("dead ls", 0), ("doctor", 0), ("health", 2),
     ("explain x", 1), ("restore", 1), ("cleanup --dry-run", 1), ("config", 0)],
)  # fmt: skip
def test_commands_that_only_read_create_no_directory(
    console: Run, base_dir: Path, command: str, status: int
) -> None:
    base_dir.rmdir()
    reply = console(*command.split())
    assert (reply.exit_code, base_dir.exists()) == (status, False), reply.output
    if status == 1:
        assert "is not there: nothing was registered here yet" in reply.stderr


@pytest.mark.parametrize(
    ("command", "status"), [("status", 0), ("health", 2), ("doctor", 2), ("explain x", 1)]
)
def test_a_base_directory_that_is_a_file_is_reported_as_one(
    console: Run, base_dir: Path, command: str, status: int
) -> None:
    base_dir.rmdir()
    base_dir.write_text("a file")
    reply = console(*command.split())
    assert reply.exit_code == status, reply.output
    assert "not a directory" in reply.output and "may not write" not in reply.output


def test_the_version_is_a_command_and_an_option(console: Run) -> None:
    assert answer(console("--version", "--json")) == answer(console("version", "--json"))
    assert console("--version").stdout.startswith("tempfleet ")


def test_every_command_takes_json_and_has_help_with_an_example(console: Run) -> None:
    def walk(command: click.Command, *path: str) -> None:
        assert any("--json" in param.opts for param in command.params), path
        assert command.help, path
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                member = command.get_command(context, name)
                assert member is not None
                walk(member, *path, name)
        else:
            assert re.search(rf"^ +(\w+=\S+ )?tempfleet .*{path[-1]}", command.help, re.MULTILINE), path

    walk(main)
    assert "Exit status" in console("--help").stdout


def test_the_help_cuts_no_summary_short(console: Run) -> None:
    for args in (["--help"], ["hosts", "--help"], ["dead", "--help"]):
        assert "..." not in console(*args).stdout.partition("Commands:")[2]


# -- plug-ins


@click.command()
def plugged() -> None:
    """Answer."""
    click.echo("here")


def list_of_commands() -> list[click.Command]:
    return [plugged]


def broken() -> list[click.Command]:
    raise RuntimeError("of no use")


def test_a_plug_in_adds_commands_and_a_broken_one_is_a_warning(
    console: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entries(group: str) -> list[EntryPoint]:
        module = __name__
        sys.modules.setdefault(module, sys.modules[__name__])
        return [EntryPoint(name, f"{module}:{name}", group) for name in ("broken", "list_of_commands")]

    monkeypatch.setattr(group, "entry_points", entries)
    monkeypatch.setattr(main, "commands", dict(main.commands))
    reply = console("plugged")
    assert (reply.exit_code, reply.stdout) == (0, "here\n")
    assert "plug-in 'broken'" in reply.stderr
    assert console("status").stderr == "", "a command that needs no plug-in loads none"


@pytest.mark.process
def test_the_library_and_its_console_never_load_celery() -> None:
    code = "import sys, tempfleet.cli; sys.exit(any(m.split('.')[0] in ('celery', 'kombu') for m in sys.modules))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


# -- on a terminal


def on_a_terminal(args: list[str], **env: str) -> str:
    main_end, child_end = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "tempfleet.cli", *args],
        stdout=child_end,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "200"} | env,
    )
    os.close(child_end)
    reply = b""
    try:
        while part := os.read(main_end, 65536):
            reply += part
    except OSError:  # EIO: the child has closed its end
        pass
    child.wait(30)
    os.close(main_end)
    return reply.decode()


@pytest.mark.process
def test_tables_have_style_on_a_terminal_and_none_with_no_color(
    console: Run, real_server: EmbeddedServer, base_dir: Path
) -> None:
    args = ["--base-dir", str(base_dir), "--redis-url", real_server.unix_url, "status"]
    assert "\x1b[" in on_a_terminal(args)
    assert "\x1b[" not in on_a_terminal(args, NO_COLOR="1")


LONG_WORK = {
    "cleanup": "Deleting",
    "compress": "Compressing",
    "evict": "Evicting",
    "adopt": "Adopting",
    "dead retry --all": "Dead letters",
    "decompress FILE": "Decompressing",
}


@pytest.mark.process
@pytest.mark.parametrize(("command", "what"), LONG_WORK.items())
def test_long_work_has_a_bar_on_a_terminal_and_none_with_no_color(
    console: Run, real_server: EmbeddedServer, base_dir: Path, command: str, what: str
) -> None:
    path = str(make(base_dir / "file", "x"))
    words = command.replace("FILE", path).split()
    args = ["--base-dir", str(base_dir), "--host", "web-1", "--redis-url", real_server.unix_url, *words]
    settings = {
        "TEMP_FILE_COMPRESS_AFTER": "1",
        "TEMP_FILE_EVICT_ABOVE": "99",
        "TEMP_FILE_EVICT_DOWN_TO": "98",
    }
    for env, shown in ({"NO_COLOR": "1"}, False), ({}, True):
        answer(console("--json", "register", path, "--ttl", "1h"))
        volume = TempFileManager(
            settings=Settings.load(base_dir=str(base_dir), host="web-1", redis_url=real_server.unix_url)
        )
        if words[0] == "dead":
            bury(volume, Path(path))
        volume.close()
        assert (f"{what} " in on_a_terminal(args, **settings, **env)) is shown


def test_idle_files_are_compressed_if_they_were_registered_for_it(
    console: Run, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a line\n" * 20_000
    path = make(base_dir / "large", text)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    answer(console("--json", "register", str(path), "--compress"))
    assert "TEMP_FILE_COMPRESS_AFTER" in complaint(console("--json", "compress"), 2)["message"]
    monkeypatch.setenv("TEMP_FILE_COMPRESS_AFTER", "0.001")
    assert [file["path"] for file in answer(console("--json", "compress", "--dry-run"))["files"]] == [
        str(path)
    ]
    assert path.read_text() == text
    assert answer(console("--json", "compress"))["compressed"] == 1
    assert answer(console("--json", "ls"))["files"][0]["compressed"] is True
    assert path.stat().st_size < 1000
    assert answer(console("--json", "decompress", str(path)))["decompressed"] == 1
    assert path.read_text() == text
    missing = answer(console("--json", "decompress", str(path), str(base_dir / "no")), status=1)
    assert (missing["decompressed"], missing["errors"][0]["error"]) == (0, "FileMissing")
    assert console("decompress", str(base_dir / "no")).stderr.count(str(base_dir)) == 1
    complaint(console("--json", "register", str(path), "--compress", "--directory"), 2)


def test_adopt_registers_unregistered_files_and_a_dry_run_only_lists_them(
    console: Run, volume: TempFileManager, base_dir: Path, a_file: Path
) -> None:
    console("register", str(a_file))
    stray = make(base_dir / "stray\n", "12345")
    listed = answer(console("adopt", "--dry-run", "--idle", "0.001s", "--json"))
    assert [(file["path"], file["size_bytes"]) for file in listed["files"]] == [(str(stray), 5)]
    assert "1 file (5 B) would be adopted" in console("adopt", "--dry-run", "--idle", "0.001s").stdout
    assert not volume.is_temp_file(stray)
    output = answer(console("adopt", "--idle", "0.001s", "--ttl", "1h", "--tag", "found", "--json"))
    assert output == {"registered": 1, "bytes": 5, "errors": []}
    record = volume.get_record(stray)
    assert record is not None and record.tags == ("found",)
    assert record.deadline_ms - record.registered_ms == 3_600_000


def test_adopt_takes_over_the_quarantine_of_a_redis_that_lost_its_data_and_a_dry_run_only_lists_it(
    console: Run, base_dir: Path, a_file: Path, real_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_QUARANTINE", "1h")
    console("register", str(a_file))
    assert console("cleanup", "--force").exit_code == 0
    assert answer(console("restore", "--json"))
    real_client.flushall()
    assert "1 quarantined file" in console("adopt", "--quarantine", "--dry-run").stdout
    listed = answer(console("adopt", "--quarantine", "--dry-run", "--json"))["files"]
    assert [file["path"] for file in listed] == [str(a_file)]
    assert answer(console("adopt", "--quarantine", "--json"))["files"] == listed
    assert console("adopt", "--quarantine").stdout == "Took over 0 quarantined files (0 B).\n"
    assert answer(console("restore", str(a_file), "--json"))
    assert a_file.exists()


def test_adopt_names_the_files_that_it_could_not_register(
    console: Run, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_SIZE_LIMIT", "3")
    large = make(base_dir / "large")
    result = console("adopt", "--idle", "0.001s")
    assert result.exit_code == 1
    assert result.stdout == "Adopted 0 files (0 B).\n"
    assert str(large) in result.stderr
    assert answer(console("adopt", "--idle", "0.001s", "--json"), 1)["errors"][0]["path"] == str(large)


def test_a_host_that_is_gone_is_taken_over_and_a_dry_run_only_counts(
    console: Run, volume: TempFileManager, base_dir: Path, real_client: redis.Redis
) -> None:
    gone = TempFileManager(settings=Settings.load(base_dir=str(base_dir), host="web-7"), client=real_client)
    gone.register(make(base_dir / "a"))
    output = answer(console("hosts", "take-over", "web-7", "--dry-run", "--json"))
    assert output == {"host": "web-7", "base_dir": str(base_dir), "entered": 1, "left": {}, "taken": []}
    assert not volume.is_temp_file(base_dir / "a")
    both = make(base_dir / "both")
    ours = volume.register(both)
    wait_until(lambda: volume.registry.now_ms() > ours.registered_ms)
    gone.register(both, ttl=9000)
    would = answer(console("hosts", "take-over", "web-7", "--dry-run", "--json"), 1)
    assert would == {
        "host": "web-7", "base_dir": str(base_dir), "entered": 1, "left": {"taken": 1}, "taken": [str(both)]
    }  # fmt: skip
    done = console("hosts", "take-over", "web-7")
    assert done.exit_code == 1
    assert done.stdout.startswith(
        "Took over 1 record of web-7.\n1 record stayed there: this host has a record"
    )
    assert f"TEMP_FILE_HOST=web-7 tempfleet unregister {both}\n" in done.stdout
    gone.unregister(both)
    assert console("hosts", "take-over", "web-7").exit_code == 0
    assert volume.is_temp_file(base_dir / "a")
    assert complaint(console("hosts", "take-over", "web-8", "--json"), 1)["error"] == "UnknownHost"
    Fleet(volume.store).heartbeat("web-7")
    assert complaint(console("hosts", "take-over", "web-7", "--json"), 1)["error"] == "HostLive"


def test_a_dry_run_of_a_takeover_refuses_what_the_takeover_refuses(
    console: Run, base_dir: Path, real_client: redis.Redis
) -> None:
    gone = TempFileManager(settings=Settings.load(base_dir=str(base_dir), host="web-7"), client=real_client)
    gone.register(make(base_dir / "a"))
    gone.registry.set_meta(DISK, "g1.2.another")
    for how in ("--dry-run", "--json"):
        assert console("hosts", "take-over", "web-7", how).exit_code == 1
    gone.close()
    shutil.rmtree(base_dir)
    assert (
        complaint(console("hosts", "take-over", "web-7", "--dry-run", "--json"), 1)["error"]
        == "VolumeUnavailable"
    )
    assert not base_dir.exists()


def test_a_dry_run_of_adopt_refuses_what_adopt_refuses(console: Run, a_file: Path) -> None:
    for wrong in (["--ttl", "400d"], ["--ttl", "0"], ["--tag", ""], ["--owner", "no such user"]):
        for dry in ([], ["--dry-run"]):
            assert console("adopt", "--idle", "0", *wrong, *dry).exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hold", "FILE", "--for", "1000d"], "without a time it is for ever"),
        (["register", "FILE", "--ttl", "soon"], "'soon' must be a duration such as 90"),
        (["dead", "retry", "FILE", "--all"], "not both"),
        (["restore", "FILE"], "its time there is over"),
        (["status", "--watch", "soon"], "must be a duration"),
    ],
)
def test_a_refusal_explains_what_is_wrong_with_this_call(
    console: Run, a_file: Path, words: list[str], message: str
) -> None:
    result = console(*[str(a_file) if word == "FILE" else word for word in words])
    assert result.exit_code in (1, 2) and message in result.stderr


def test_a_file_is_restored_while_redis_does_not_answer(base_dir: Path, tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(
            settings=Settings.load(base_dir=str(base_dir), redis_url=server.unix_url, quarantine_seconds=60)
        )
        path = make(base_dir / "a")
        manager.register(path, ttl=0.001)
        wait_until(lambda: manager.cleanup_report().set_aside == 1)
        common = ["--base-dir", str(base_dir), "--redis-url", server.unix_url]
    manager.close()
    result = CliRunner().invoke(main, [*common, "restore", str(path)])
    assert result.exit_code == 0, result.output
    assert path.read_text() == "text"
    assert "could not be removed" in result.stderr


@pytest.mark.parametrize("command", ["adopt", "hosts take-over web-7"])
def test_adopt_and_take_over_create_no_directory(
    command: str, real_server: EmbeddedServer, tmp_path: Path
) -> None:
    absent = tmp_path / "mistyped"
    args = ["--base-dir", str(absent), "--redis-url", real_server.unix_url, *command.split()]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 1 and "is not there" in result.stderr
    assert not absent.exists()


def test_clock_accept_ends_the_delay_after_a_jump(
    console: Run, volume: TempFileManager, a_file: Path
) -> None:
    volume.register(a_file)
    assert console("clock", "accept").stdout == "Redis's clock has no jump to accept.\n"
    clock = FleetClock(volume.store)
    clock.change(clock.jumps(), jumped_ms=360_000, slack_ms=360_000)
    clock.copy(clock.jumps(), [volume.volume])
    assert answer(console("status", "--json"))["slack_seconds"] == 360
    assert "deadlines pass 6 min later" in console("status").stdout
    assert console("clock", "accept").stdout == (
        "Accepted Redis's clock. Deadlines passed 6 min later until now.\n"
    )
    assert answer(console("status", "--json"))["slack_seconds"] == 0
    assert answer(console("clock", "accept", "--json")) == {"accepted_seconds": 0}
