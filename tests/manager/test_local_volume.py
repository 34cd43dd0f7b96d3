"""One volume of this host and its engines: built once, without a lock, and checked before they are used."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conftest import MakeManager
from tempfleet import EvictingRedis, TempFileManager
from tempfleet.manager.local_volume import BuiltOnce, LocalVolume
from tempfleet.registry.store import Store

ENGINES = ("registry", "cleaner", "admission", "evictor", "compressor", "announcer", "unregistered")


def test_threads_that_build_at_the_same_time_share_one_result_and_do_not_wait() -> None:
    first_is_inside, second_is_done = threading.Event(), threading.Event()
    names = {"first": first_is_inside, "second": threading.Event()}

    class Owner:
        @BuiltOnce
        def engine(self) -> object:
            name = threading.current_thread().name
            names[name].set()
            if name == "first":
                assert second_is_done.wait(10)
            return object()

    owner, results = Owner(), {}

    def use() -> None:
        results[threading.current_thread().name] = owner.engine

    first = threading.Thread(target=use, name="first")
    first.start()
    assert first_is_inside.wait(10)
    second = threading.Thread(target=use, name="second")
    second.start()
    second.join(10)
    # The first thread is still inside. A forked child would see the same.
    assert "second" in results
    second_is_done.set()
    first.join(10)
    assert results["first"] is results["second"] is owner.engine


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_refused_while_redis_may_evict(
    name: str, manager: TempFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = iter([{"maxmemory_policy": "allkeys-lru"}] * 2 + [{"maxmemory_policy": "noeviction"}])
    monkeypatch.setattr(Store, "memory_of", lambda _store, _reply: next(policies))
    for _ in range(2):
        with pytest.raises(EvictingRedis):
            getattr(manager.local_volume, name)
    assert getattr(manager.local_volume, name) is getattr(manager.local_volume, name)


def test_two_volumes_of_a_host_share_redis_and_policy_but_not_roots_or_engines(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    ours = make_manager(tmp_path / "one").local_volume
    make_manager(tmp_path / "two")
    other = ours.beside(str(tmp_path / "two"))
    assert (other.store, other.evictor.policy) == (ours.store, ours.evictor.policy)
    assert other.settings.confined_roots == ours.settings.confined_roots == (str(tmp_path / "one"),)
    for name in ("roots", *ENGINES):
        assert getattr(other, name) is not getattr(ours, name)
    other.close()
    ours.check()
    assert isinstance(LocalVolume.evictor, BuiltOnce)
