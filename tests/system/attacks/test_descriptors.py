"""
Whatever fails, no descriptor and no lock of the kernel stays: a worker that leaks one for each file dies of EMFILE, and
a write lock that stays makes the applications' open() wait.

Each kind of work is done again and again; the n-th time, its n-th system call fails. ``close`` fails as on NFS: the
descriptor is closed, and the call reports an error.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import itertools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeManager
from support import kernel_locks, open_files
from tempfleet import TempFileManager, TempfleetError
from tempfleet.deletion import failpoints as faults
from tempfleet.diagnostics.doctor import diagnose
from tempfleet.filesystem import stat, syscalls
from tempfleet.testing import FakeClock

ERRNOS = ("EIO", "ENOSPC", "EROFS", "EMFILE", "ENFILE", "EACCES", "EPERM", "ESTALE", "ENOMEM", "EAGAIN")
INTERRUPT = "interrupt"
CALLS = {
    os: (
        *(
            "open",
            "dup",
            "close",
            "read",
            "write",
            "pwrite",
            "pread",
            "stat",
            "fstat",
            "rename",
            "unlink",
            "rmdir",
        ),
        *(
            "mkdir",
            "link",
            "scandir",
            "listdir",
            "fsync",
            "fdatasync",
            "ftruncate",
            "fchmod",
            "fchown",
            "utime",
        ),
        *("statvfs", "fstatvfs", "access", "lseek", "listxattr", "setxattr", "getxattr", "readlink"),
    ),
    fcntl: ("fcntl", "flock", "ioctl"),
    syscalls: ("openat2", "_renameat2"),
    stat.Statx: ("read",),
}
OURS = tuple(
    f"tempfleet.{room}"
    for room in ("filesystem", "deletion", "compression", "cleanup", "reconciliation", "manager")
)

STEP = 31
"""Not each call of long work, because that takes minutes; it is prime, so that each call may get each error."""

pytestmark = pytest.mark.parametrize("redis_client", ["fake"], indirect=True)


class Failing:
    """Lets the *n*-th system call of our modules fail with *error*, the name of an errno or INTERRUPT."""

    def __init__(self, n: int, error: str) -> None:
        self.left = n
        self.error = error
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> Failing:
        for place, names in CALLS.items():
            for name in names:
                self.patch.setattr(place, name, self._failing(getattr(place, name), name))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def _failing(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*args: Any, **options: Any) -> Any:
            if not sys._getframe(1).f_globals["__name__"].startswith(OURS):
                return call(*args, **options)
            self.left -= 1
            if self.left:
                return call(*args, **options)
            if name == "close":
                call(*args)
            if self.error == INTERRUPT:
                raise KeyboardInterrupt
            raise OSError(getattr(errno, self.error), "injected")

        return wrapper


class World:
    """A manager, and a directory with what each kind of work needs."""

    def __init__(
        self, make_manager: MakeManager, clock: FakeClock, base_dir: Path, **settings: object
    ) -> None:
        self.make_manager = make_manager
        self.settings = settings
        self.clock = clock
        self.base_dir = base_dir
        self.manager = self.new_manager()
        self.number = 0

    def new_manager(self) -> TempFileManager:
        return self.make_manager(max_age=3600, **self.settings)

    def file(self, *, size: int = 4, ttl: float | None = 5) -> Path:
        self.number += 1
        path = self.base_dir / f"named{self.number}"
        path.write_bytes(b"x" * size)
        os.utime(path, (0, 0))
        if ttl is not None:
            self.manager.register(path, ttl=ttl)
        return path

    def tree(self) -> None:
        self.number += 1
        path = self.base_dir / f"tree{self.number}"
        (path / "sub" / "below").mkdir(parents=True)
        (path / "sub" / "below" / "file").write_text("text")
        (path / "file").write_text("text")
        self.manager.register(path, ttl=5, directory=True)

    def quarantined(self) -> Path:
        path = self.file()
        self.clock.advance(6)
        self.manager.cleanup()
        return path

    def rewritten(self) -> None:
        path = self.file()
        self.clock.advance(1)
        other = path.with_name("new")
        other.write_text("new")
        other.replace(path)
        self.clock.advance(5)

    def interrupted(self) -> None:
        """Leave files in the private directory, as a process does that dies between two steps."""
        self.file(), self.tree()
        self.clock.advance(6)

        def at(point: str) -> None:
            if point in ("guarded.moved", "begin.renamed"):
                for note in self.base_dir.glob(".tempfleet-*/note.*"):
                    shutil.copy(note, note.with_name(f"{note.name}0"))
                raise KeyboardInterrupt

        faults.install(at)
        try:
            self.manager.cleanup()
        except KeyboardInterrupt:
            pass
        faults.install(None)


Prepare = Callable[[World], object]
Act = Callable[[World, Any], object]


def expired(world: World, *prepare: Prepare) -> None:
    for step in prepare:
        step(world)
    world.clock.advance(6)


def created(world: World) -> None:
    world.manager.create(ttl=5).close()
    world.manager.create_dir(ttl=5)


def clean(world: World, _: object) -> object:
    return world.manager.cleanup()


def create(world: World, _: object) -> None:
    world.manager.create().close()
    world.manager.create_dir()


def recover(world: World, _: object) -> None:
    manager = world.new_manager()
    try:
        manager.cleanup()
    finally:
        manager.close()


WORKS: dict[str, tuple[dict[str, object], Prepare, Act]] = {
    "register": ({}, lambda world: world.file(ttl=None), lambda world, path: world.manager.register(path)),
    "create": ({}, lambda world: None, create),
    "direct": ({}, lambda world: expired(world, created), clean),
    "guarded": ({}, lambda world: expired(world, World.file), clean),
    "tree": ({}, lambda world: expired(world, World.tree), clean),
    "secure": ({"secure_delete": True}, lambda world: expired(world, World.file, World.tree, created), clean),
    "quarantine": (
        {"quarantine_seconds": 600},
        lambda world: expired(world, World.file, World.tree, created),
        clean,
    ),
    "purge": (
        {"quarantine_seconds": 600},
        lambda world: (
            expired(world, World.file, World.tree),
            world.manager.cleanup(),
            world.clock.advance(600),
        ),
        clean,
    ),
    "restore": (
        {"quarantine_seconds": 600},
        World.quarantined,
        lambda world, path: world.manager.restore(path),
    ),
    "compress": (
        {"compress_after_seconds": 60, "compression": "all"},
        lambda world: world.file(size=20_000, ttl=3600),
        lambda world, _: world.manager.compress_idle(),
    ),
    "decompress": (
        {"compress_after_seconds": 60, "compression": "all"},
        lambda world: (world.file(size=20_000, ttl=3600), world.manager.compress_idle())[0],
        lambda world, path: (world.manager.open(path).close(), world.manager.decompress(path)),
    ),
    "rewrite": ({}, World.rewritten, clean),
    "evict": (
        {"evict_above": 2, "evict_down_to": 1},
        lambda world: world.file(ttl=3600),
        lambda world, _: world.manager.evictor.evict(),
    ),
    "recovery": ({}, World.interrupted, recover),
    "adopt": ({}, lambda world: world.file(ttl=None), lambda world, _: world.manager.adopt(idle=0)),
    "explain": ({}, World.file, lambda world, path: world.manager.explain(path)),
    "preview": (
        {},
        lambda world: expired(world, World.file, World.tree),
        lambda world, _: list(world.manager.preview()),
    ),
    "files": ({}, World.file, lambda world, path: world.manager.files.keep_only({})),
    "doctor": (
        {},
        World.quarantined,
        lambda world, _: list(diagnose(world.manager.registry, world.manager.settings)),
    ),
    "health": ({}, World.quarantined, lambda world, _: world.manager.health_check()),
}


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    faults.install(None)


@pytest.mark.parametrize("errors", [ERRNOS, (INTERRUPT,)], ids=["errors", "interrupts"])
@pytest.mark.parametrize("kind", WORKS)
def test_no_path_of_an_error_keeps_a_descriptor_or_a_lock(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, kind: str, errors: tuple[str, ...]
) -> None:
    settings, prepare, act = WORKS[kind]
    world = World(make_manager, clock, base_dir, **settings)
    locks = kernel_locks()  # those of this process that other tests share
    for n in itertools.chain(range(1, 8), itertools.count(8 + len(kind), STEP)):
        prepared = prepare(world)
        error = errors[(n + len(kind)) % len(errors)]
        with Failing(n, error) as failing:
            try:
                act(world, prepared)
            except (OSError, TempfleetError, KeyboardInterrupt):
                pass
        assert kernel_locks() == locks, (n, error)
        kept = Counter(name for name in open_files() if name.startswith(str(base_dir)))
        assert max(kept.values()) == 1 and len(kept) <= 2, (
            n,
            error,
            kept,
        )  # the directory, and the private one
        world.manager.close()
        left = [name for name in open_files() if name.startswith(str(base_dir))]
        assert left == [], (n, error)
        if failing.left > 0:
            assert n > 3
            return
        world.manager = world.new_manager()
        clock.advance(7200)
        world.manager.cleanup()  # so that the next turn is not longer
