"""
Random walks of two registries that share one base directory and its quarantine, each with a manager.

The model knows where each file has to be. The disk is read without Tempfleet: each file has a content of its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support import assert_balanced
from tempfleet import FileMissing, Settings, TempFileManager, UnsafePath
from tempfleet.cleanup.promises import RegistryPromises
from tempfleet.deletion import stranded
from tempfleet.filesystem import FROM
from tempfleet.registry import PAUSE_SECONDS
from tempfleet.testing import FakeClock

REGISTRIES = st.sampled_from(["A", "B"])
PATHS = st.sampled_from(["a", "tree"])
TTLS = st.sampled_from([1, 20, 300])
GRACES = st.sampled_from([2, 60, 900])
PAUSE_MS = PAUSE_SECONDS * 1000
NAMED, QUARANTINED, GONE = "has its name", "in quarantine", "gone"


@dataclass(eq=False)
class File:
    """
    Attributes:
        registrant: the registry that has a record of it under its path.
        owner: the registry that quarantined it last, until *end*.
        due: when the record of the quarantined file expires. None means that the owner lost the record.
    """

    content: str
    path: Path
    place: str = NAMED
    registrant: str | None = None
    deadline: int = 0
    owner: str = ""
    end: int = 0
    due: int | None = None
    aside: str = ""


@dataclass
class Side:
    """
    One registry and its manager.

    Attributes:
        has_lost: its data, and no claim was made since.
        paused_until: after a loss. 0 if there was none.
        must_pause: its process saw the registry before the loss.
        sees_epoch: its process saw the registry that Redis has now.
        is_new_process: it has not cleaned yet.
    """

    grace: int
    manager: TempFileManager = field(init=False)
    has_lost: bool = False
    paused_until: int = 0
    must_pause: bool = False
    has_epoch: bool = False
    sees_epoch: bool = False
    is_new_process: bool = True


class Quarantines(RuleBasedStateMachine):
    databases: bool
    """Whether the registries are two databases of one Redis, or two namespaces of one database."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="tempfleet-model-"))
        self.clock = FakeClock()
        server = fakeredis.FakeServer()
        a = fakeredis.FakeRedis(server=server)
        b = fakeredis.FakeRedis(server=server, db=1) if self.databases else a
        self.clients: dict[str, redis.Redis] = {"A": a, "B": b}
        self.sides = {"A": Side(900), "B": Side(60)}
        self.files: list[File] = []
        for name in self.sides:
            self._start(name)

    def teardown(self) -> None:
        for side in self.sides.values():
            side.manager.close()
        shutil.rmtree(self.base)

    @property
    def now(self) -> int:
        return self.clock.now_ms

    # -- rules

    @rule(name=REGISTRIES, path=PATHS, ttl=TTLS)
    def register(self, name: str, path: str, ttl: int) -> None:
        """Also again, and a file that was restored, and a new file while an older one of its name is in quarantine."""
        file = self._named(self.base / path)
        if file is None:
            file = self._write(self.base / path)
        elif file.registrant not in (None, name):
            # Two registries with one file promise each other nothing.
            return
        self.sides[name].manager.register(file.path, ttl=ttl, directory=path == "tree")
        self._registered(file, name, ttl)

    @rule(name=REGISTRIES, ttl=TTLS)
    def create(self, name: str, ttl: int) -> None:
        created = self.sides[name].manager.create(ttl=ttl)
        content = f"file {len(self.files)}"
        created.write(content.encode())
        created.close()
        self.files.append(File(content, Path(created.path)))
        self._registered(self.files[-1], name, ttl)

    @rule(name=REGISTRIES)
    def clean_up(self, name: str) -> None:
        self._clean(name, self.sides[name].manager.cleanup)

    @rule(name=REGISTRIES, path=PATHS)
    def quarantine_a_file(self, name: str, path: str) -> None:
        self.register(name, path, 1)
        self.clock.advance(1)
        self.clean_up(name)

    @rule(name=REGISTRIES)
    def clear_all(self, name: str) -> None:
        self._clean(name, self.sides[name].manager.clear_all, force=True)

    @rule(name=REGISTRIES)
    def purge(self, name: str) -> None:
        self._clean(name, self.sides[name].manager.purge_quarantine, purge=True)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), name=REGISTRIES)
    def restore(self, data: st.DataObject, name: str) -> None:
        """The file that was last quarantined from a path, whichever registry quarantined it."""
        path = data.draw(st.sampled_from([file.path for file in self._in(QUARANTINED) or self.files]))
        files = [file for file in self._in(QUARANTINED) if file.path == path]
        restore = self.sides[name].manager.restore
        if not files:
            with pytest.raises(FileMissing):
                restore(path)
        elif self._named(path) is not None:
            with pytest.raises(UnsafePath):
                restore(path)
        else:
            restore(path)
            last = max(files, key=lambda file: self._token(file.aside))
            last.place, last.registrant, last.due = NAMED, None, None

    @rule(name=REGISTRIES)
    def lose_the_registry(self, name: str) -> None:
        client, side = self.clients[name], self.sides[name]
        client.delete(b"", *client.keys(f"{self._namespace(name)}:*"))
        # A token is its time in microseconds or more, and no server is back within one.
        self.clock.now_ms += 1
        side.must_pause = side.sees_epoch or (side.has_lost and side.must_pause)
        side.has_lost, side.has_epoch, side.sees_epoch = True, False, False
        for file in self.files:
            if file.registrant == name:
                file.registrant = None
            if file.owner == name:
                file.owner, file.due = self._lost(name), None

    @precondition(lambda self: not self.databases and self._in(QUARANTINED))
    @rule(name=REGISTRIES)
    def adopt_the_quarantine(self, name: str) -> None:
        """Of this registry before its losses. The other one has another name, unless it is another database."""
        files = [file for file in self._in(QUARANTINED) if file.owner == self._lost(name)]
        taken = self.sides[name].manager.adopt_quarantine()
        assert {file.aside_path for file in taken} == {file.aside for file in files}
        for file in files:
            file.owner, file.due = name, max(file.end, self.now + 1)
            self.sides[name].has_epoch = True

    @rule(name=REGISTRIES, grace=GRACES)
    def start_another_process(self, name: str, grace: int) -> None:
        """With another time in quarantine: what is there keeps its own."""
        side = self.sides[name]
        side.manager.close()
        side.grace, side.is_new_process = grace, True
        side.sees_epoch = side.must_pause = False
        self._start(name)

    @precondition(lambda self: self._in(QUARANTINED))
    @rule(name=REGISTRIES, grace=GRACES)
    def come_back_after_a_loss(self, name: str, grace: int) -> None:
        """What is quarantined for longer than the pause stays."""
        self.lose_the_registry(name)
        self.start_another_process(name, grace)
        self.clean_up(name)
        self.clock.advance(PAUSE_SECONDS)
        self.clean_up(name)

    @rule(name=REGISTRIES, path=PATHS)
    def quarantine_a_file_after_a_loss(self, name: str, path: str) -> None:
        """A process that saw what is lost lets no file expire during the pause."""
        self.lose_the_registry(name)
        for _ in range(2):
            self.quarantine_a_file(name, path)

    @rule(seconds=st.sampled_from([0.001, 1, 30, 600]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self._instants())
    @rule(data=st.data(), off=st.sampled_from([-2, -1, 0]))
    def jump_to_an_end(self, data: st.DataObject, off: int) -> None:
        """A clean-up there is one millisecond later."""
        self.clock.now_ms = max(self.now, data.draw(st.sampled_from(self._instants())) + off)

    @precondition(lambda self: len(self._in(QUARANTINED)) > 2)
    @rule(grace=GRACES)
    def let_everything_end(self, grace: int) -> None:
        """Every file that a registry looks after goes; after a loss, once a person took it over. The others stay."""
        for name in self.sides:
            self.start_another_process(name, grace)
            if not self.databases:
                self.adopt_the_quarantine(name)
        for seconds in (0, 1000, PAUSE_SECONDS, 1000):
            self.clock.advance(seconds)
            for name in self.sides:
                self.clean_up(name)
                self.every_file_is_where_it_has_to_be()
        assert not any(file.owner in self.sides for file in self._in(QUARANTINED))
        assert self.databases or not self._in(QUARANTINED)
        assert not any(file.registrant for file in self._in(NAMED))

    # -- invariants

    @invariant()
    def every_file_is_where_it_has_to_be(self) -> None:
        disk = self._disk()
        for file in self.files:
            self._check_place(file, disk.pop(file.content, ""))
        assert disk == {}
        companions = [path for path in self.base.glob(".tempfleet-*/*") if path.suffix == f".{FROM}"]
        assert len(companions) == len(self._in(QUARANTINED))

    @invariant()
    def every_registry_sees_whose_quarantine_it_is(self) -> None:
        for name, side in self.sides.items():
            expected = {(str(file.path), file.aside, file.end) for file in self._in(QUARANTINED)}
            seen = side.manager.quarantined()
            assert {(file.path, file.aside_path, file.end_ms) for file in seen} == expected
            promises = RegistryPromises(side.manager.registry)
            reported = list(stranded(side.manager.roots, promises, quarantine=True))
            assert all(file.foreign for file in reported)
            assert {file.inside for file in reported} == {
                file.aside for file in self._in(QUARANTINED) if file.owner != name
            }

    @invariant()
    def both_registries_balance(self) -> None:
        for side in self.sides.values():
            assert_balanced(side.manager)

    # -- inside

    def _lost(self, name: str) -> str:
        """The owner of what registry *name* had in quarantine when it lost its data."""
        return f"{name} before"

    def _clean(
        self, name: str, clean: Callable[[], object], *, force: bool = False, purge: bool = False
    ) -> None:
        """Call *clean*, and find out what it did with the files of its own registry."""
        # Two claims of one microsecond would have the same token.
        self.clock.now_ms += 1
        side = self.sides[name]
        own = [file for file in self._in(NAMED) if file.registrant == name]
        kept = [file for file in self._in(QUARANTINED) if file.owner == name and file.due is not None]
        aside = [] if purge else [file for file in own if force or file.deadline <= self.now]
        ended = [file for file in kept if purge or (file.due or 0) <= self.now]
        claims = kept if purge else own + kept if force else True
        if side.has_lost and claims:
            side.has_lost, side.paused_until = False, self.now + PAUSE_MS
        is_paused = self.now < side.paused_until

        clean()

        # A process looks at its registry when it first cleans up, and in the reply of each claim.
        if side.is_new_process or claims:
            side.sees_epoch = side.has_epoch
        side.is_new_process = False
        disk = self._disk()
        for file in aside:
            if self._may_stay(file, disk, is_paused, side):
                continue
            file.place, file.owner, file.aside = QUARANTINED, name, self._top(disk.get(file.content, ""))
            file.registrant, file.end = None, self.now + side.grace * 1000
            file.due = file.end
        for file in ended:
            if not self._may_stay(file, disk, is_paused, side):
                file.place = GONE

    def _may_stay(self, file: File, disk: dict[str, str], is_paused: bool, side: Side) -> bool:
        """A new process pauses if the continuity record of an earlier one shows the loss. It need not be that new."""
        if not is_paused:
            return False
        return side.must_pause or self._is_at(file, disk.get(file.content, ""))

    def _start(self, name: str) -> None:
        side = self.sides[name]
        values = {"host": "web-1", "audit_log": "", "namespace": self._namespace(name)}
        side.manager = TempFileManager(
            settings=Settings.load(base_dir=str(self.base), quarantine_seconds=side.grace, **values),
            client=self.clients[name],
            clock=self.clock,
        )

    def _namespace(self, name: str) -> str:
        return "tempfleet" if self.databases else f"tempfleet-{name}"

    def _write(self, path: Path) -> File:
        content = f"file {len(self.files)}"
        if path.name == "tree":
            path.mkdir()
        (path / "inside" if path.name == "tree" else path).write_text(content)
        self.files.append(File(content, path))
        return self.files[-1]

    def _registered(self, file: File, name: str, ttl: int) -> None:
        deadline = self.now + ttl * 1000
        file.deadline = max(deadline, file.deadline) if file.registrant == name else deadline
        file.registrant, self.sides[name].has_epoch = name, True

    def _in(self, place: str) -> list[File]:
        return [file for file in self.files if file.place == place]

    def _named(self, path: Path) -> File | None:
        return next((file for file in self._in(NAMED) if file.path == path), None)

    def _instants(self) -> list[int]:
        times = [file.deadline for file in self._in(NAMED) if file.registrant]
        times += [file.end for file in self._in(QUARANTINED)]
        return sorted({time for time in times if time > self.now})

    def _disk(self) -> dict[str, str]:
        """Returns content -> path of every file on the disk, except Tempfleet's own."""
        found = {}
        for at, _, names in os.walk(self.base):
            for path in (Path(at, name) for name in names):
                if (content := path.read_bytes()).startswith(b"file "):
                    assert content.decode() not in found
                    found[content.decode()] = str(path)
        return found

    def _check_place(self, file: File, path: str) -> None:
        assert self._is_at(file, path), (file, path)

    def _is_at(self, file: File, path: str) -> bool:
        if file.place == QUARANTINED:
            return self._top(path) == file.aside and Path(file.aside).parent.name.startswith(".tempfleet-")
        return path == "" if file.place == GONE else self._top(path) == str(file.path)

    def _top(self, path: str) -> str:
        """Returns the registered path of a file on the disk: the directory, if that is registered."""
        return path.removesuffix("/inside")

    def _token(self, aside: str) -> int:
        """Returns the token of the claim that quarantined the file. The last one is restored."""
        return int(aside.rsplit(".", 3)[1], 16)


def walk(*, databases: bool, examples: int) -> None:
    machine = type("QuarantinesHere", (Quarantines,), {"databases": databases})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("databases", [False, True], ids=["namespaces", "databases"])
def test_no_registry_touches_the_quarantine_of_another(databases: bool) -> None:
    walk(databases=databases, examples=20)
