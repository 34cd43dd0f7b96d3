"""A file that two volumes of a host registered: the later promise of both counts, for every way to delete it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import MakeManager
from deletion_support import mounted, needs_root
from processes import files_in
from support import assert_balanced
from tempfleet import AlreadyClaimed, TempFileManager
from tempfleet.cleanup import Cause
from tempfleet.deletion import failpoints
from tempfleet.records import Outcome, State
from tempfleet.testing import FakeClock

WAYS = ["expired", "forced", "matching", "discarded", "evicted", "quarantined", "quota", "block", "secure"]


class Two(NamedTuple):
    """Two volumes of one host, and a directory in the roots of both."""

    a: TempFileManager
    b: TempFileManager
    data: Path

    def file(self, name: str = "file", content: str = "content") -> Path:
        path = self.data / name
        path.write_text(content)
        return path


@pytest.fixture
def make_two(make_manager: MakeManager, tmp_path: Path) -> Callable[..., Two]:
    data = tmp_path / "data"
    data.mkdir()

    def make(**settings: object) -> Two:
        base_dirs = tmp_path / "a", tmp_path / "b"
        roots = (str(data), *map(str, base_dirs))
        for base_dir in base_dirs:
            base_dir.mkdir(mode=0o700)
        a, b = (make_manager(base_dir, allowed_roots=roots, **settings) for base_dir in base_dirs)
        return Two(a, b, data)

    return make


@pytest.fixture
def two(make_two: Callable[..., Two]) -> Two:
    return make_two()


@pytest.fixture
def at_point() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Runs work once, when the deleter first reaches a point."""

    def install(point: str, work: Callable[[], object]) -> None:
        todo = [work]
        failpoints.install(lambda reached: todo.pop()() if reached == point and todo else None)

    yield install
    failpoints.install(None)


def delete(way: str, a: TempFileManager, path: Path) -> None:
    """Delete *path*, which is due, from volume *a* in this way."""
    now_ms = a.registry.now_ms()
    if way in ("expired", "quarantined", "secure"):
        a.cleanup()
    elif way == "forced":
        a.clear_all()
    elif way == "matching":
        a.cleanup_report(force=True, prefix=path)
    elif way == "block":
        record = a.get_record(path)
        assert record is not None
        a.cleaner.clean_own({str(path): record.registered_ms}, Cause.FORCED)
    else:
        cause = {"discarded": Cause.DISCARDED, "evicted": Cause.EVICTED, "quota": Cause.QUOTA}[way]
        a.cleaner.clean_paths([[str(path)]], cause, until_ms=now_ms)


def settings_of(way: str) -> dict[str, object]:
    return {"quarantine_seconds": 60 if way == "quarantined" else 0, "secure_delete": way == "secure"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("promise", ["deadline", "hold"])
def test_a_file_of_two_volumes_stays_until_the_later_promise(
    make_two: Callable[..., Two], clock: FakeClock, way: str, first: str, promise: str
) -> None:
    two = make_two(**settings_of(way))
    path = two.file()
    lives = {"a": 1, "b": 3600 if promise == "deadline" else 1}
    for name in sorted(lives, reverse=first == "b"):
        getattr(two, name).register(path, ttl=lives[name])
    if promise == "hold":
        two.b.hold(path, 3600)
    record = two.b.get_record(path)
    assert record is not None
    clock.advance(60)
    for _ in range(3):
        delete(way, two.a, path)
        clock.advance(900)
    assert path.read_text() == "content"
    waiting = two.a.get_record(path)
    assert waiting is not None
    assert (waiting.state, waiting.attempts) == (State.WAITING, 0)
    assert waiting.last_error == ("promised-beside" if promise == "deadline" else "held-beside")
    assert waiting.due_ms == record.due_ms
    clock.advance(3600)
    two.b.registry.reap()
    delete(way, two.a, path)
    assert not path.exists()
    two.b.cleanup()
    assert two.b.get_record(path) is None
    for manager in (two.a, two.b):
        assert_balanced(manager)


@pytest.mark.parametrize("maker", ["a", "b"])
def test_a_created_file_that_another_volume_registered_stays_until_the_later_promise(
    two: Two, clock: FakeClock, maker: str
) -> None:
    made = getattr(two, maker).create(ttl=1 if maker == "a" else 3600)
    made.close()
    other = two.b if maker == "a" else two.a
    other.register(made.path, ttl=3600 if maker == "a" else 1)
    clock.advance(60)
    two.a.cleanup(force=True)
    assert Path(made.path).exists()
    if maker == "a":
        with two.a.create() as file:
            file.close()
            two.b.register(file.path, ttl=3600)
        assert Path(file.path).exists()
    clock.advance(3600)
    two.a.cleanup()
    two.b.cleanup()
    assert not Path(made.path).exists()


def test_a_file_that_is_due_in_both_goes_at_once_and_both_records_with_it(two: Two, clock: FakeClock) -> None:
    paths = [two.file(str(n)) for n in range(20)]
    two.a.register_many(paths, ttl=1)
    two.b.register_many(paths[:10], ttl=2)
    clock.advance(60)
    assert two.a.cleanup() == 20
    assert files_in(two.data) == []
    assert list(two.b.records()) == []
    assert two.b.stats().total("missing") == 10
    for manager in (two.a, two.b):
        assert_balanced(manager)


def test_what_could_not_be_deleted_is_given_back_to_the_other_volume(two: Two, clock: FakeClock) -> None:
    path = two.file()
    two.a.register(path, ttl=1)
    two.b.register(path, ttl=1)
    clock.advance(60)
    with path.open():
        assert two.a.cleanup() == 0
    record = two.b.get_record(path)
    assert record is not None and record.state is State.WAITING
    two.b.renew(path, ttl=3600)
    clock.advance(60)
    assert two.a.cleanup() == 0
    assert path.exists()


@pytest.mark.parametrize(
    ("call", "known"),
    [("register", False), ("register", True), ("renew", True), ("hold", True), ("unregister", True)],
)
def test_nobody_is_promised_a_file_that_another_volume_is_deleting(
    two: Two, clock: FakeClock, at_point: Callable[..., None], call: str, known: bool
) -> None:
    """After that volume has asked the others."""
    path = two.file()
    two.a.register(path, ttl=1)
    if known:
        two.b.register(path, ttl=1)
    clock.advance(60)
    refused: list[object] = []

    def promise() -> None:
        with pytest.raises(AlreadyClaimed) as caught:
            getattr(two.b, call)(path)
        refused.append(caught.value)

    at_point("guarded.moved" if call == "unregister" else "guarded.found", promise)
    assert two.a.cleanup() == 1
    assert len(refused) == 1
    assert two.b.get_record(path) is None
    for manager in (two.a, two.b):
        assert_balanced(manager)


def test_the_first_registration_of_a_volume_is_seen_by_a_clean_up_that_has_begun(
    two: Two, clock: FakeClock, at_point: Callable[..., None]
) -> None:
    """Nobody knew the volume when the clean-up began."""
    first, second = two.file("1"), two.file("2")
    two.a.register_many([first, second], ttl=1)
    clock.advance(60)
    two.a.cleaner.settings = two.a.settings.model_copy(update={"batch_size": 1})
    at_point("guarded.found", lambda: two.b.register(second, ttl=3600))
    assert two.a.cleanup() == 1
    assert (first.exists(), second.exists()) == (False, True)


@needs_root
def test_a_file_that_has_another_name_in_the_other_volume_is_the_same_file(
    make_manager: MakeManager, tmp_path: Path, clock: FakeClock
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with mounted(["--bind", str(data)], tmp_path / "alias") as alias:
        a = make_manager(tmp_path / "a", allowed_roots=(str(data),))
        b = make_manager(tmp_path / "b", allowed_roots=(str(alias),))
        path = data / "file"
        path.write_text("content")
        a.register(path, ttl=1)
        b.register(alias / "file", ttl=3600)
        clock.advance(60)
        assert a.cleanup() == 0
        clock.advance(3600)
        assert a.cleanup() == 1
        assert list(b.records()) == []
        a.close()
        b.close()


def test_a_dry_run_and_explain_foretell_it(two: Two, clock: FakeClock) -> None:
    path = two.file()
    two.a.register(path, ttl=1)
    two.b.register(path, ttl=3600)
    clock.advance(60)
    assert [(result.outcome, result.reason) for result in two.a.preview()] == [
        (Outcome.BUSY, "promised-beside")
    ]
    assert "promised-beside" in str(two.a.explain(path))
    assert str(two.b.base_dir) in str(two.a.explain(path))


def test_a_file_that_is_gone_or_replaced_is_forgotten_whatever_the_other_volume_promised(
    two: Two, clock: FakeClock
) -> None:
    gone, replaced = two.file("gone"), two.file("replaced")
    two.a.register_many([gone, replaced], ttl=1)
    two.b.register_many([gone, replaced], ttl=3600)
    gone.unlink()
    replaced.rename(two.data / "old")
    two.file("replaced", "another file")
    clock.advance(60)
    assert two.a.cleanup() == 0
    assert list(two.a.records()) == []
    assert replaced.exists()


def test_asking_costs_one_round_trip_a_batch_and_none_on_a_host_with_one_volume(
    make_two: Callable[..., Two], make_manager: MakeManager, clock: FakeClock
) -> None:
    two = make_two(batch_size=50)

    def clean() -> int:
        two.a.register_many([two.file(str(n)) for n in range(100)], ttl=1)
        clock.advance(60)
        before = two.a.store.round_trips
        assert two.a.cleanup() == 100
        return two.a.store.round_trips - before

    clean()
    alone = clean()
    two.a.cleaner.registry.store.client.zadd(
        two.a.store.fleet_keys["volumes"], {b"web-12|/x": 0, b"web|/y": 0}
    )
    assert clean() == alone
    two.b.register(two.file("b"), ttl=3600)
    assert clean() == alone + 2


def test_a_volume_that_cannot_be_read_keeps_the_files_of_its_host(two: Two, clock: FakeClock) -> None:
    path = two.file()
    two.b.register(two.file("b"), ttl=3600)
    two.a.register(path, ttl=1)
    two.b.registry.set_meta("schema", "1")
    clock.advance(60)
    assert two.a.cleanup() == 0
    record = two.a.get_record(path)
    assert record is not None and record.last_error == "registry-unreadable"
    two.b.registry.set_meta("schema", "2")
    clock.advance(60)
    assert two.a.cleanup() == 1


def test_a_file_that_another_volume_registered_is_not_compressed(
    make_two: Callable[..., Two], clock: FakeClock
) -> None:
    """Its registrant there did not agree, and its record there could not delete the compressed file."""
    two = make_two(compress_after_seconds=10, compress_min_bytes=1)
    shared, own = two.file("shared", "x" * 10_000), two.file("own", "x" * 10_000)
    for path in (shared, own):
        os.utime(path, (1, 1))
    two.a.register_many([shared, own], ttl=3600, compress=True)
    two.b.register(shared, ttl=7200)
    clock.advance(60)
    assert [record.path for record in two.a.compressor.preview()] == [str(own)]
    assert two.a.compress_idle().compressed == 1
    assert shared.read_text() == "x" * 10_000
