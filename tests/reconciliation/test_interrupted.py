"""The recovery after a process died between moving a file and unlinking it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from conftest import MakeManager
from deletion_support import mounted, needs_root
from processes import files_in
from support import assert_balanced
from tempfleet import AlreadyClaimed, RegistryUnavailable, Settings, State, TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.deletion import stranded
from tempfleet.diagnostics import Level, diagnose
from tempfleet.embedded import EmbeddedServer
from tempfleet.reconciliation.interrupted import InterruptedMoves
from tempfleet.registry import Fleet, Nack
from tempfleet.testing import FakeClock

DYING = """
import os, signal, sys
from tempfleet import TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.deletion import stranded

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
    assert files_in(base_dir) == [path]
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


def killed(
    manager: TempFileManager,
    path: Path,
    point: str,
    at_first: Callable[[], object] | None = None,
    lease_ms: int = 1000,
) -> None:
    """
    Claims *path*, due or not, and deletes it in a process that is killed at *point*. *at_first* is called there when
    the file was found under its name.
    """
    claim = manager.registry.claim_paths([str(path)], lease_ms=lease_ms, until_ms=manager.registry.now_ms())
    assert claim.records

    def at(reached: str) -> None:
        if reached == "guarded.found" and at_first is not None:
            at_first()
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        faults.install(at)
        quarantines = manager.settings.quarantine_seconds > 0
        delete = manager.cleaner.deleter.quarantine if quarantines else manager.cleaner.deleter.delete
        list(delete(claim.records, token=claim.token, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


@contextmanager
def stopped(manager: TempFileManager, path: Path) -> Iterator[None]:
    """Claims *path*, and moves it in a process that is stopped there, and killed at the end of the block."""
    claim = manager.registry.claim_paths([str(path)], lease_ms=1000, until_ms=manager.registry.now_ms())

    def child() -> None:
        faults.install(lambda point: point == "guarded.moved" and os.kill(os.getpid(), signal.SIGSTOP))
        list(manager.cleaner.deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert process.pid is not None
    try:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        yield
    finally:
        process.kill()
        process.join(20)


def text_file(path: Path, text: str = "first") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def replace_file(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("point", ["guarded.moved", "guarded.compared"])
def test_a_file_of_a_killed_forced_clean_up_has_its_name_back_as_soon_as_its_lease_has_ended(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str
) -> None:
    """The sweep of another host reaps. The file is not due for a long time, so no claim finds it."""
    living, path = make_manager(), text_file(base_dir / "file")
    living.register(path, ttl=5000)
    living.cleanup()
    killed(living, path, point)
    clock.advance(2)
    Fleet(living.store).reap([living.registry.volume])
    assert not path.exists()
    living.cleanup()
    assert path.read_text() == "first"
    record = living.get_record(path)
    assert record is not None and record.state is State.WAITING
    clock.advance(5000)
    assert living.cleanup() == 1
    assert files_in(base_dir) == []
    assert_balanced(living)


@pytest.mark.parametrize("made", ["created", "named", "directory"])
@pytest.mark.parametrize("promise", ["a later deadline", "a hold"])
def test_a_file_that_a_killed_clean_up_had_quarantined_has_its_name_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, made: str, promise: str
) -> None:
    """Its record is not due any more, so no claim reports the move. The promise was given for the name."""
    living = make_manager(quarantine_seconds=60)
    if made == "created":
        file = living.create(ttl=1)
        file.close()
        path = Path(file.path)
    else:
        path = text_file(base_dir / "top" / "file")
        path = path.parent if made == "directory" else path
        living.register(path, ttl=1, directory=made == "directory")
    living.cleanup()
    clock.advance(2)
    killed(living, path, "set-aside.moved")
    clock.advance(2)
    living.registry.reap()
    if promise == "a hold":
        living.hold(path)
    else:
        living.renew(path, ttl=5000)
    assert not path.exists()
    assert living.cleanup() == 0
    assert path.exists() and living.quarantined() == []
    clock.advance(100)
    assert living.cleanup() == 0
    assert path.exists()
    assert_balanced(living)


@pytest.mark.process
@pytest.mark.parametrize("first", [True, False], ids=["first clean-up", "later clean-up"])
def test_a_file_of_a_process_that_was_stopped_and_killed_after_its_lease_has_its_name_back_at_the_next_clean_up(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, first: bool
) -> None:
    """While it is stopped it can go on at any moment, so nobody touches what it moved."""
    living, path = make_manager(), text_file(base_dir / "file")
    living.register(path, ttl=5000)
    if not first:
        living.cleanup()
    with stopped(living, path):
        clock.advance(2)
        living.cleanup()
        assert not path.exists()
    living.cleanup()
    assert path.read_text() == "first"
    assert living.is_temp_file(path)
    assert_balanced(living)


@pytest.mark.process
def test_a_file_that_a_stopped_process_has_moved_cannot_be_unregistered_before_it_has_its_name_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """If it could, the recovery would register it again when the process dies, and then it would be deleted."""
    manager, path = make_manager(), text_file(base_dir / "file")
    manager.register(path, ttl=5)
    clock.advance(6)
    with stopped(manager, path):
        clock.advance(2)
        manager.registry.reap()
        with pytest.raises(AlreadyClaimed):
            manager.unregister(path)
    manager.unregister(path)
    for _ in range(2):
        clock.advance(5000)
        make_manager().cleanup()
    assert path.read_text() == "first"
    assert_balanced(manager)


def test_a_recovery_that_redis_cut_off_is_repeated_at_the_next_clean_up(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living, path = make_manager(), text_file(base_dir / "file")
    living.register(path, ttl=5000)
    living.cleanup()
    killed(living, path, "guarded.moved")
    clock.advance(2)

    def fail(*_: object, **__: object) -> None:
        raise RegistryUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(living.cleaner.promises, "owner", fail)
        with pytest.raises(RegistryUnavailable):
            living.cleanup()
    living.cleanup()
    assert path.read_text() == "first"


@pytest.mark.parametrize("due", [True, False], ids=["due", "forced"])
@pytest.mark.parametrize(
    "ends", ["removed", "unregistered and removed", "registered after the lease, removed"]
)
def test_a_file_whose_name_was_registered_again_meanwhile_never_stays_without_a_record(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, due: bool, ends: str
) -> None:
    manager, path = make_manager(), text_file(base_dir / "file")
    manager.register(path, ttl=5 if due else 5000)
    clock.advance(6)
    killed(manager, path, "guarded.compared")
    path.write_text("second")
    if "after" in ends:
        clock.advance(2)
        manager.registry.reap()
    manager.register(path, ttl=9000)
    clock.advance(2)
    manager.registry.reap()
    if "unregistered" in ends:
        manager.unregister(path)
    path.unlink()
    make_manager().cleanup()
    assert not path.exists() or manager.is_temp_file(path)
    clock.advance(20_000)
    for _ in range(2):
        make_manager().cleanup()
    assert files_in(base_dir) == []
    assert manager.stats().active == 0
    assert_balanced(manager)


@pytest.mark.parametrize("how", ["unregister", "del files[path]"])
def test_a_file_that_is_unregistered_after_its_clean_up_was_killed_is_whole_and_stays(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, how: str
) -> None:
    manager, path = make_manager(), text_file(base_dir / "file")
    manager.register(path, ttl=5)
    clock.advance(6)
    killed(manager, path, "guarded.compared")
    clock.advance(2)
    manager.registry.reap()
    if how == "unregister":
        manager.unregister(path)
    else:
        del manager.files[str(path)]
    assert path.read_text() == "first"
    clock.advance(5000)
    assert make_manager().cleanup() == 0
    assert files_in(base_dir) == [path]
    assert_balanced(manager)


def reaped_and_unregistered(manager: TempFileManager, clock: FakeClock, path: Path) -> None:
    """As a message does for a silent host: it changes the registry only."""
    clock.advance(2)
    assert manager.registry.reap().recovered == 1
    assert manager.registry.unregister([str(path)], with_held=False) == {str(path): "released"}


@pytest.mark.parametrize("kind", ["file", "directory", "created directory"])
@pytest.mark.parametrize("point", ["guarded.moved", "guarded.compared"])
@pytest.mark.parametrize("name", ["free", "taken", "registered again"])
def test_a_file_that_was_unregistered_for_a_host_that_died_while_deleting_it_is_given_back_and_stays(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, kind: str, point: str, name: str
) -> None:
    manager = make_manager()
    path = Path(manager.create_dir(ttl=5).path) if kind == "created directory" else base_dir / "path"
    content = text_file(path if kind == "file" else path / "content")
    manager.register(path, ttl=5, directory=kind != "file")
    clock.advance(6)
    killed(manager, path, point)
    assert not path.exists()
    reaped_and_unregistered(manager, clock, path)
    if name != "free":
        path.write_text("second")
        if name == "registered again":
            manager.register(path, ttl=60)
    later = make_manager()
    for _ in range(3):
        later.cleanup()
        clock.advance(4000)
    if name == "free":
        assert content.read_text() == "first"
        assert list(later.records()) == []
    else:
        (beside,) = (entry for entry in base_dir.iterdir() if entry.name.startswith(f"{path.name}."))
        assert (beside if kind == "file" else beside / "content").read_text() == "first"
        assert path.exists() == (name == "taken")
    assert later.registry.former([str(path)]) == [None]
    assert list(stranded(later.roots, later.cleaner.promises, quarantine=True)) == []
    assert_balanced(later)


def test_an_unregistered_file_whose_directory_is_gone_is_given_back_when_that_is_there_again(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, path = make_manager(), text_file(base_dir / "sub" / "file")
    manager.register(path, ttl=5)
    clock.advance(6)
    killed(manager, path, "guarded.moved")
    reaped_and_unregistered(manager, clock, path)
    path.parent.rmdir()
    make_manager().cleanup()
    path.parent.mkdir()
    later = make_manager()
    for _ in range(2):
        later.cleanup()
        clock.advance(4000)
    assert path.read_text() == "first"


def test_a_file_that_was_unregistered_for_a_host_that_died_while_quarantining_it_is_given_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, path = make_manager(quarantine_seconds=60), text_file(base_dir / "file")
    manager.register(path, ttl=5)
    clock.advance(6)
    killed(manager, path, "set-aside.moved")
    reaped_and_unregistered(manager, clock, path)
    later = make_manager(quarantine_seconds=60)
    for _ in range(3):
        later.cleanup()
        clock.advance(4000)
    assert path.read_text() == "first"
    assert list(later.records()) == []


def test_a_tree_whose_destruction_has_begun_cannot_be_unregistered_unless_it_is_a_dead_letter(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """Then what is left of it is given back, and stays."""
    manager, path = make_manager(), base_dir / "tree"
    for name in ("a", "b", "c"):
        text_file(path / name)
    manager.register(path, ttl=5, directory=True)
    clock.advance(6)
    killed(manager, path, "tree.entry")
    # on a fake Redis the child had one of its own
    assert manager.registry.begin(int(manager.stats().meta["token"]), str(path))
    clock.advance(2)
    assert manager.registry.reap().recovered == 1
    assert manager.registry.unregister([str(path)]) == {str(path): "claimed"}
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    manager.registry.nack(claim.token, [Nack(str(path), bury=True, reason="EACCES")])
    assert manager.registry.unregister([str(path)]) == {str(path): "released"}
    later = make_manager()
    for _ in range(2):
        later.cleanup()
        clock.advance(4000)
    assert len(files_in(path)) == 2


def test_a_file_whose_registry_redis_lost_has_its_name_back_without_a_record(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """As every file whose record was lost: ``adopt`` registers them. It may be the file of another Redis, too."""
    manager, path = make_manager(max_age=100), text_file(base_dir / "file")
    manager.register(path, ttl=5, tags=["t"])
    clock.advance(6)
    killed(manager, path, "guarded.compared")
    manager.store.client.flushall()
    later = make_manager(max_age=100)
    assert later.cleanup() == 0
    assert path.read_text() == "first"
    assert later.get_record(path) is None
    assert [result.path for result in later.adopt(idle=0).files] == [str(path)]
    clock.advance(100)
    assert later.cleanup() == 1
    assert files_in(base_dir) == []


def test_a_tree_whose_registry_redis_lost_while_it_was_destroyed_is_destroyed_once_a_person_adopts_it(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, path = make_manager(), base_dir / "tree"
    for name in ("a", "b", "c"):
        text_file(path / name)
    manager.register(path, ttl=5, directory=True)
    clock.advance(6)
    killed(manager, path, "tree.entry")
    manager.store.client.flushall()
    later = make_manager()
    text_file(base_dir / "other")
    later.register(base_dir / "other")
    later.cleanup()
    assert len([path for path in files_in(base_dir) if path.name in ("a", "b", "c")]) == 2
    assert [file.namesake for file in stranded(later.roots, later.cleaner.promises, quarantine=True)] == [
        True
    ]
    assert later.adopt_quarantine() == []
    assert files_in(base_dir) == [base_dir / "other"]


@pytest.mark.parametrize("stranger", [False, True])
def test_another_registry_gives_back_a_stranger_and_leaves_the_rest_to_the_registry_that_claimed_it(
    make_manager: MakeManager, clock: FakeClock, tmp_path: Path, stranger: bool
) -> None:
    """Two volumes may delete in one root, such as the system's temp directory."""
    shared = text_file(tmp_path / "shared" / "file")
    owner, other = (make_manager(tmp_path / name, allowed_roots=[str(shared.parent)]) for name in "ab")
    owner.register(shared, ttl=5)
    clock.advance(6)
    killed(owner, shared, "guarded.moved", (lambda: replace_file(shared, "precious")) if stranger else None)
    other.create(ttl=5).close()
    clock.advance(6)
    other.cleanup()
    assert shared.exists() is stranger
    findings = [finding.check for finding in diagnose(other.registry, other.settings)]
    assert ("private directory" in findings) is not stranger
    assert "private director" not in str(other.health_check())
    owner.cleanup()
    assert owner.stats().active == 0
    assert (shared.read_text() == "precious") if stranger else not shared.exists()
    assert_balanced(owner), assert_balanced(other)


@needs_root
@pytest.mark.parametrize("stranger", [False, True])
def test_a_registry_that_sees_the_disk_below_another_path_leaves_the_files_and_their_journal(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, tmp_path: Path, stranger: bool
) -> None:
    owner, path = make_manager(), text_file(base_dir / "file")
    owner.register(path, ttl=5000)
    killed(owner, path, "guarded.moved", (lambda: replace_file(path, "precious")) if stranger else None)
    clock.advance(2)
    with mounted(["--bind", str(base_dir)], tmp_path / "mount") as mount:
        other = make_manager(mount, host="web-2")
        other.cleanup()
        other.close()
    assert not path.exists()
    make_manager().cleanup()
    assert path.read_text() == ("precious" if stranger else "first")
    assert_balanced(owner)


@pytest.mark.parametrize("stranger", [False, True])
def test_a_file_whose_directory_is_gone_is_kept_and_reported_until_the_directory_is_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, stranger: bool
) -> None:
    manager, path = make_manager(), text_file(base_dir / "job" / "file")
    manager.register(path, ttl=5)
    clock.advance(6)
    killed(manager, path, "guarded.moved", (lambda: replace_file(path, "precious")) if stranger else None)
    path.parent.rmdir()
    if not stranger:
        manager.registry.store.client.hdel(manager.registry.keys["records"], os.fsencode(path))
        for name in ("leases", "registry"):
            manager.registry.store.client.zrem(manager.registry.keys[name], os.fsencode(path))
    clock.advance(2)
    for _ in range(2):
        make_manager().cleanup()
        clock.advance(3600)
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert "1 file in the private directories without a record" in health["warning"]
    (finding,) = [
        finding
        for finding in diagnose(manager.registry, manager.settings)
        if finding.check == "private directory"
    ]
    assert finding.level is Level.WARNING
    assert str(path) in finding.said and "create it again" in finding.todo
    path.parent.mkdir()
    make_manager().cleanup()
    assert path.read_text() == ("precious" if stranger else "first")
    assert manager.is_temp_file(path) is not stranger
    assert "private director" not in str(manager.health_check())
