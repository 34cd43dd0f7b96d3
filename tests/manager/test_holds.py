"""Who holds a file, and who can end a hold: names, several holds, force and the audit log."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from support import assert_balanced
from tempfleet import FileHeld, HeldByAnother, InvalidHoldName, NotRegistered, State, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.manager.keeper_name import keeper_name, own_name
from tempfleet.records import Keeper
from tempfleet.testing import FakeClock

LOGIN = pwd.getpwuid(os.geteuid()).pw_name

HOLD_BRIEFLY = """
import sys
from tempfleet import Settings, TempFileManager
base, url, path = sys.argv[1:]
manager = TempFileManager(settings=Settings.load(base_dir=base, redis_url=url, host="web-1"))
manager.hold(path, 0.001)
print(manager.unhold(path), manager.unhold(path), manager.cleanup(), manager.clear_all())
"""


@pytest.fixture
def path(base_dir: Path, manager: TempFileManager) -> Path:
    file = base_dir / "file"
    file.write_text("text")
    manager.register(file, ttl=1)
    return file


def names(manager: TempFileManager, path: Path) -> list[str]:
    return [keeper.name for keeper in manager.registry.keepers(str(path.resolve()))]


def test_another_program_neither_ends_nor_shortens_a_hold(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, tmp_path: Path
) -> None:
    url, script = real_server.unix_url, tmp_path / "looker.py"
    script.write_text(HOLD_BRIEFLY)
    with TempFileManager(base_dir, redis_url=url, host="web-1") as manager:
        file = base_dir / "evidence"
        file.write_text("text")
        manager.register(file, ttl=0.001)
        manager.hold(file, reason="legal hold")
        run = subprocess.run(
            [sys.executable, script, base_dir, url, file],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.split() == ["True", "False", "0", "0"]
        assert file.read_text() == "text"
        assert names(manager, file) == [own_name()]
        assert manager.unhold(file)
        assert manager.cleanup() == 1


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["/usr/bin/report.py"], "report.py"),
        (["/x/tempfleet/__main__.py"], "tempfleet"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
        (["/x/a\nb\0\x1b"], "a?b??"),
        (["/x/" + "y" * 300], "y" * 99),
    ],
)
def test_the_own_name_is_login_at_program_short_and_on_one_line(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], program: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert own_name() == keeper_name(None) == f"{LOGIN}@{program}"
    assert keeper_name(own_name()) == own_name()


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "\x1b[2J", "x" * 201, "a\u2028b"])
def test_a_name_is_short_and_on_one_line(manager: TempFileManager, path: Path, name: str) -> None:
    for call in (manager.hold, manager.unhold):
        with pytest.raises(InvalidHoldName) as error:
            call(path, name=name)
        assert str(error.value).isprintable()
    assert names(manager, path) == []


def test_a_name_may_be_long_and_of_any_language(manager: TempFileManager, path: Path) -> None:
    for name in ("x" * 200, "größe in €", "a\udcff"):
        manager.hold(path, name=name)
    assert sorted(names(manager, path)) == sorted(["x" * 200, "größe in €", "a\udcff"])


def test_a_hold_returns_its_end(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    now = clock.now_ms / 1000
    assert manager.hold(path, 100) == now + 100
    assert manager.hold(path, 1) == now + 100
    assert manager.hold(path, 1, name="other") == now + 1
    assert manager.hold(path) is None
    assert manager.hold(path, 1) is None


def test_only_force_ends_the_hold_of_another_and_the_audit_log_says_who_did(
    make_manager: MakeManager, base_dir: Path, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    manager = make_manager(audit_log=str(log))
    path = base_dir / "file \n"
    path.write_text("text")
    manager.register(path, ttl=1)
    manager.hold(path, name="legal")
    manager.hold(path)
    with pytest.raises(HeldByAnother, match="only force ends it") as error:
        manager.unhold(path, name="legal")
    assert (error.value.path, error.value.name) == (str(path), "legal")
    assert manager.unhold(path, name=own_name())
    assert not log.exists()
    assert not manager.unhold(path, name="other"), "there is no such hold, so force would not help"
    with pytest.raises(NotRegistered):
        manager.unhold(base_dir / "none", name="other")
    assert not manager.unhold(path, name="other", force=True)
    assert not log.exists()
    assert manager.unhold(path, name="legal", force=True)
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["path"], line["outcome"], line["host"]) == (str(path), "unheld", "web-1")
    assert (line["hold"], line["by"]) == ("legal", own_name())
    assert manager.get_record(path).state is State.WAITING  # type: ignore[union-attr]


def test_nothing_takes_a_file_while_it_has_a_hold(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(quarantine_seconds=50)
    held, aside = base_dir / "held", base_dir / "aside"
    for file in (held, aside):
        file.write_text("text")
        manager.register(file, ttl=1, tags=["t"])
    manager.hold(held, 1, name="a")
    manager.hold(held, name="b")
    clock.advance(10)
    assert manager.cleanup() == 0
    (quarantined,) = manager.quarantined()
    manager.hold(quarantined.aside_path)
    clock.advance(10**6)
    assert manager.cleanup() == manager.clear_all() == manager.purge_quarantine().deleted == 0
    assert manager.evict().evicted == 0
    assert manager.cleanup_batch(tags=["t"]).files == []
    assert held.exists() and Path(quarantined.aside_path).exists()
    assert_balanced(manager)


def test_explain_names_each_hold_with_its_reason_and_its_end(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.hold(path, 600, reason="ticket\n117", name="anna@sh")
    explanation = manager.explain(path)
    assert explanation.sentences()[:2] == [
        f"{path.resolve()} is held for 10 min, because: ticket\\n117.",
        "Held by: anna@sh.",
    ]
    manager.hold(path, name="legal", reason="case 4")
    explanation = manager.explain(path)
    assert explanation.sentences()[:3] == [
        f"{path.resolve()} is held until tempfleet unhold, because: case 4.",
        "Held by: anna@sh, for 10 min, because: ticket\\n117.",
        "Held by: legal, until tempfleet unhold, because: case 4.",
    ]
    assert explanation.as_dict()["holds"] == [
        {"name": "anna@sh", "reason": "ticket\n117", "ends_ms": clock.now_ms + 600_000},
        {"name": "legal", "reason": "case 4", "ends_ms": None},
    ]
    assert explanation.keepers[1] == Keeper("legal", "case 4", None)
    for n in range(30):
        manager.hold(path, name=f"n{n:02}")
    assert "It has 12 more holds." in manager.explain(path).sentences()


def test_only_force_unregisters_a_file_that_another_one_holds(
    make_manager: MakeManager, base_dir: Path, tmp_path: Path, clock: FakeClock
) -> None:
    """Otherwise anybody could end a hold by unregistering the file and registering it again."""
    log = tmp_path / "audit.log"
    manager = make_manager(audit_log=str(log))
    path = base_dir / "file"
    path.touch()
    manager.register(path, ttl=10)
    manager.hold(path, 100)
    manager.hold(path, 50, name="legal")
    with pytest.raises(FileHeld):
        manager.unregister(path)
    with pytest.raises(FileHeld):
        del manager.files[str(path)]
    assert [keeper.name for keeper in manager.explain(path).keepers] == sorted([own_name(), "legal"])
    clock.advance(51)
    manager.unregister(path)  # only the caller's own hold is left
    assert not log.exists() or "unheld" not in log.read_text()
    manager.register(path, ttl=10)
    manager.hold(path, name="legal")
    manager.unregister(path, force=True)
    assert not manager.is_temp_file(path)
    assert '"legal"' in log.read_text()
    assert_balanced(manager)


def test_stats_count_held_files_and_their_holds(manager: TempFileManager, path: Path) -> None:
    for name in ("a", "b"):
        manager.hold(path, name=name)
    stats = manager.stats()
    assert (stats.held, stats.keepers, stats.as_dict()["keepers"]) == (1, 2, 2)
    manager.unregister(path, force=True)
    assert (manager.stats().held, manager.stats().keepers) == (0, 0)
