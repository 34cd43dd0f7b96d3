"""Plug-in code may raise, hang or answer nonsense; the caller goes on and gets an error."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from support import python, wait_until
from tempfleet.errors import PluginFailed
from tempfleet.plugins.circuit_breaker import COOL_DOWN_SECONDS, FAILURES, LONGEST_MESSAGE, CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("guard.before_delete", seconds=1, clock=clock)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A hanging call waits for this event, which is set at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def fail() -> None:
    raise ValueError("no such database")


def fails(
    breaker: CircuitBreaker, work: Callable[[], object] = fail, **kwargs: Callable[[], object]
) -> PluginFailed:
    with pytest.raises(PluginFailed) as failed:
        breaker.call(work, **kwargs)
    return failed.value


def hang(breaker: CircuitBreaker, clock: Clock, gate: threading.Event) -> PluginFailed:
    """A call whose time runs out while it waits for *gate*."""

    def pass_time() -> None:
        clock.now += 1

    return fails(breaker, gate.wait, meanwhile=pass_time)


def test_an_answer_is_returned_from_another_thread(breaker: CircuitBreaker) -> None:
    assert breaker.call(threading.get_ident) != threading.get_ident()
    assert not breaker.is_off


def test_an_exception_is_reported_and_logged_with_the_name(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    assert str(fails(breaker)) == "plug-in guard.before_delete failed: ValueError: no such database"
    assert breaker.last_failure == "ValueError: no such database"
    (record,) = caplog.records
    assert (record.levelno, "guard.before_delete" in record.getMessage()) == (logging.ERROR, True)
    assert record.exc_info


@pytest.mark.parametrize("exc", [SystemExit, KeyboardInterrupt, MemoryError, RecursionError, GeneratorExit])
def test_no_exception_gets_out(breaker: CircuitBreaker, exc: type[BaseException]) -> None:
    def leave() -> None:
        raise exc

    assert exc.__name__ in str(fails(breaker, leave))


def test_an_exception_that_cannot_be_formatted_is_still_contained(breaker: CircuitBreaker) -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not telling")

    def rude() -> None:
        raise Rude

    assert "RuntimeError" in str(fails(breaker, rude))


def test_the_message_of_a_plug_in_is_short_and_on_one_line(breaker: CircuitBreaker) -> None:
    def talk() -> None:
        raise ValueError("\n\x1b[31m" + "x" * 100_000)

    fails(breaker, talk)
    assert len(breaker.last_failure) == LONGEST_MESSAGE
    assert breaker.last_failure.isprintable()


def test_after_some_failures_in_a_row_it_is_not_called_any_more(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES - 1):
        assert not fails(breaker).is_off
    assert breaker.call(lambda: 1) == 1  # a success resets the count
    for _ in range(FAILURES):
        failed = fails(breaker)
    assert (failed.is_off, breaker.is_off) == (True, True)
    called: list[int] = []
    refused = fails(breaker, lambda: called.append(1))
    assert (refused.is_off, called) == (True, [])
    assert "is switched off: ValueError: no such database" in str(refused)


def test_a_function_that_is_switched_off_logs_nothing_until_it_is_tried_again(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FAILURES + 100):
        fails(breaker)
    assert len(caplog.records) == FAILURES
    assert "switched off" in caplog.records[-1].getMessage()
    clock.now += COOL_DOWN_SECONDS
    fails(breaker)
    fails(breaker)
    assert len(caplog.records) == FAILURES + 1


def test_after_a_pause_it_is_tried_again_and_works_when_it_answers(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(FAILURES):
        fails(breaker)
    clock.now += COOL_DOWN_SECONDS
    assert breaker.call(lambda: 2) == 2
    assert (breaker.is_off, breaker.last_failure) == (False, "")


def test_a_call_that_hangs_is_left_after_its_time(
    breaker: CircuitBreaker, clock: Clock, gate: threading.Event
) -> None:
    assert "did not return within 1 s" in str(hang(breaker, clock, gate))


def test_a_call_that_hangs_leaks_one_thread_however_often_it_is_called(
    breaker: CircuitBreaker, clock: Clock, gate: threading.Event
) -> None:
    hang(breaker, clock, gate)
    called: list[int] = []
    for _ in range(50):
        fails(breaker, lambda: called.append(1))
        clock.now += COOL_DOWN_SECONDS
    assert (called, breaker.is_off) == ([], True)
    gate.set()
    assert wait_until(lambda: not breaker._hangs())
    clock.now += COOL_DOWN_SECONDS
    assert breaker.call(lambda: 3) == 3


def test_an_answer_that_comes_too_late_is_dropped(
    breaker: CircuitBreaker, clock: Clock, gate: threading.Event
) -> None:
    hang(breaker, clock, gate)
    gate.set()
    wait_until(lambda: not breaker._hangs())
    assert breaker.call(lambda: "new") == "new"


@pytest.mark.process
def test_a_forked_child_does_not_wait_for_its_parents_threads(
    breaker: CircuitBreaker, clock: Clock, gate: threading.Event
) -> None:
    hang(breaker, clock, gate)
    child = os.fork()
    if child == 0:
        answered = False
        try:
            answered = breaker.call(lambda: True)
        finally:
            os._exit(0 if answered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_signal_handler_that_raises_during_the_wait_leaves_it_usable(gate: threading.Event) -> None:
    breaker = CircuitBreaker("guard.before_delete", seconds=30)

    class Limit(Exception):
        pass

    def limit(*_args: object) -> None:
        raise Limit

    before = signal.signal(signal.SIGUSR1, limit)
    try:
        with pytest.raises(Limit):
            breaker.call(gate.wait, meanwhile=lambda: os.kill(os.getpid(), signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "has not returned" in str(fails(breaker, lambda: 1))
    gate.set()
    wait_until(lambda: not breaker._hangs())
    assert breaker.call(lambda: 4) == 4


@pytest.mark.process
def test_a_process_ends_though_a_call_hangs() -> None:
    began = time.monotonic()
    child = python(
        "import threading\n"
        "from tempfleet.plugins.circuit_breaker import CircuitBreaker\n"
        "from tempfleet.errors import PluginFailed\n"
        "try:\n"
        "    CircuitBreaker('guard', seconds=0.1).call(threading.Event().wait)\n"
        "except PluginFailed:\n"
        "    print('kept')\n"
    )
    out, _ = child.communicate(timeout=30)
    assert (out, child.returncode) == ("kept\n", 0)
    assert time.monotonic() - began < 30


@pytest.mark.process
def test_nothing_is_called_if_no_thread_can_start() -> None:
    child = python(
        "import _thread\n"
        "from tempfleet.plugins.circuit_breaker import CircuitBreaker\n"
        "from tempfleet.errors import PluginFailed\n"
        "def none(*_): raise RuntimeError('no threads at the end')\n"
        "_thread.start_new_thread = none\n"
        "try:\n"
        "    CircuitBreaker('guard', seconds=1).call(lambda: print('called'))\n"
        "except PluginFailed as exc:\n"
        "    print('failed')\n"
    )
    out, _ = child.communicate(timeout=30)
    assert out == "failed\n"
