"""
A clock for tests of code that uses Tempfleet. Its time changes only when the test moves it.

    clock = FakeClock()
    manager = TempFileManager(tmp_path, max_age=60, client=fakeredis.FakeRedis(), clock=clock)
    manager.register_file(path)
    clock.advance(61)
    assert manager.cleanup() == 1
"""

from __future__ import annotations


class FakeClock:
    """The current time of a registry, in ms. Pass it to a manager or a store as ``clock``."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
