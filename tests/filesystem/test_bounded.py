"""Calls on a file system that does not answer: nobody waits for ever, and few threads hang."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fuse
from support import wait_until
from tempfleet import Settings, VolumeUnavailable
from tempfleet.filesystem.bounded import LOOK_SECONDS, NOT_ANSWERING, Bounded
from tempfleet.filesystem.paths import normalise
from tempfleet.filesystem.roots import Roots

SHORT = 0.05


class Hanging:
    """A call that returns a number when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_return = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        self.may_return.wait(30)
        return self.calls


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    call = Hanging()
    yield call
    call.may_return.set()


def test_while_a_call_hangs_no_other_one_begins_and_when_it_returns_all_is_well(hanging: Hanging) -> None:
    calls = Bounded("/mnt")
    for _ in range(3):
        with pytest.raises(VolumeUnavailable, match=r"/mnt is unavailable \(not answering\)") as caught:
            calls.ask(hanging, seconds=SHORT)
        assert (caught.value.reason, caught.value.base_dir) == (NOT_ANSWERING, "/mnt")
    assert hanging.calls == 1
    assert calls.hangs()
    hanging.may_return.set()
    wait_until(lambda: not calls.hangs())
    assert calls.ask(lambda: "answer") == "answer"


def test_a_result_that_comes_too_late_is_discarded(hanging: Hanging) -> None:
    calls, discarded = Bounded("/mnt"), list[int]()
    with pytest.raises(VolumeUnavailable):
        calls.ask(hanging, seconds=SHORT, discard=discarded.append)
    assert discarded == []
    hanging.may_return.set()
    wait_until(lambda: discarded == [1])
    assert calls.ask(lambda: 2, discard=discarded.append) == 2
    assert discarded == [1]


def test_an_error_of_the_call_reaches_its_caller() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        Bounded("/mnt").ask(fail)


def test_long_work_is_waited_for_as_long_as_the_file_system_answers(tmp_path: Path, hanging: Hanging) -> None:
    threading.Timer(LOOK_SECONDS + 0.5, hanging.may_return.set).start()
    assert Bounded(str(tmp_path)).run(hanging) == 1


def test_a_call_on_a_local_disk_needs_no_thread() -> None:
    assert Bounded("/", may_hang=False).ask(threading.get_ident) == threading.get_ident()
    assert Bounded("/", may_hang=True).ask(threading.get_ident) != threading.get_ident()


def test_a_forked_child_does_not_wait_for_the_calls_of_its_parent(hanging: Hanging) -> None:
    calls = Bounded("/mnt")
    with pytest.raises(VolumeUnavailable):
        calls.ask(hanging, seconds=SHORT)

    def child() -> None:
        os._exit(0 if calls.ask(lambda: 0) == 0 else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert calls.hangs()


def test_a_file_system_that_stops_again_and_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = Bounded("/mnt")
    for _ in range(3):
        hanging = Hanging()
        with pytest.raises(VolumeUnavailable):
            calls.ask(hanging, seconds=SHORT)
        hanging.may_return.set()
        wait_until(lambda: not calls.hangs())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1


@pytest.mark.skipif(bool(fuse.why_not()), reason=fuse.why_not())
def test_a_mount_whose_server_has_stopped_hangs_nothing_but_itself(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir(mode=0o700)
    settings = Settings(base_dir=str(tmp_path / "base"), allowed_roots=(str(tmp_path / "mount"),))
    with fuse.mounted(tmp_path / "mount") as mount, Roots.open(settings) as roots:
        (tmp_path / "base" / "link").symlink_to(mount.path)
        assert {root.path: root.calls.may_hang for root in roots} == {
            str(mount.path): True,
            str(tmp_path / "base"): False,
        }
        mount.stop()
        began = time.monotonic()
        assert roots.check() == {str(mount.path): NOT_ANSWERING}
        assert time.monotonic() - began < LOOK_SECONDS + 1

        began = time.monotonic()
        with Roots.open(settings) as others:
            assert others.unavailable == {str(mount.path): NOT_ANSWERING}
            assert others.check() == {str(mount.path): NOT_ANSWERING}
            assert others.is_unavailable(f"{mount.path}/file") == NOT_ANSWERING
            with pytest.raises(VolumeUnavailable):
                normalise(mount.path / "deep" / "file")
            assert normalise(tmp_path / "base" / "file") == str(tmp_path / "base" / "file")
            assert time.monotonic() - began < 1

            began = time.monotonic()
            with pytest.raises(VolumeUnavailable):
                normalise(tmp_path / "base" / "link" / "file")
            assert time.monotonic() - began < 8

            mount.go_on()
            wait_until(lambda: not others.check(), timeout=10)
            assert others.find(f"{mount.path}/file") is not None
        wait_until(lambda: not roots.check(), timeout=10)


@pytest.mark.skipif(bool(fuse.why_not()), reason=fuse.why_not())
def test_the_descriptors_of_a_call_that_hangs_stay_open(tmp_path: Path) -> None:
    settings = Settings(base_dir=str(tmp_path / "mount" / "base"), allowed_roots=(str(tmp_path / "mount"),))
    with fuse.mounted(tmp_path / "mount") as mount:
        mount.path.chmod(0o700)
        roots = Roots.open(settings)
        fd = roots.base.fd
        mount.stop()
        assert roots.base.moved() == NOT_ANSWERING
        roots.close()
        fcntl.fcntl(fd, fcntl.F_GETFD)
        assert roots.base.moved() == "closed"
        mount.go_on()
        os.close(fd)
