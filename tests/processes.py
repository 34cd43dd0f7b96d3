"""Real workers and a real beat, as processes that tests start, watch and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from support import wait_until
from tempfleet import Settings, TempFileManager

QUICK = {
    "TEMP_FILE_CLEANUP_INTERVAL": "0.5",
    "TEMP_FILE_TIMER_INTERVAL": "60",
    "TEMP_FILE_HEARTBEAT": "0.5",
    "TEMP_FILE_HOST_LIVE_FOR": "3",
    "TEMP_FILE_LEASE": "1",
    "TEMP_FILE_RETRY_DELAY": "0.2",
}
"""A fleet in a hurry; the timer is left slow, so that what a test sees is the work of beat and messages."""


class Process:
    """A celery command with its own environment. Its output goes to a file beside its work directory."""

    def __init__(self, name: str, directory: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.directory = directory / name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "celery", *arguments],
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **QUICK, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the process did not stop:\n{self.output[-4000:]}") from None

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if kind is not None:
            print(f"--- {self.log.name}\n{self.output[-6000:]}")


class Worker(Process):
    """``celery -A tempfleet_tasks worker`` for one host."""

    def __init__(
        self,
        host: str,
        base_dir: Path,
        redis_url: str,
        directory: Path,
        *,
        app: str = "tempfleet_tasks",
        arguments: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.host = host
        self.base_dir = base_dir
        super().__init__(
            host,
            directory,
            ["-A", app, "worker", "-n", f"tempfleet@{host}", "-l", "INFO", *arguments],
            {
                "TEMP_FILE_HOST": host,
                "TEMP_FILE_BASE_DIR": str(base_dir),
                "TEMP_FILE_REDIS_URL": redis_url,
                **environment,
            },
        )

    def wait_until_ready(self) -> Worker:
        wait_until(lambda: self.output.count(" ready.") >= 1 or self._gone(), 30)
        return self

    def _gone(self) -> bool:
        assert self.process.poll() is None, f"the worker ended:\n{self.output[-4000:]}"
        return False


class Beat(Process):
    """``celery -A tempfleet_tasks beat``."""

    def __init__(self, redis_url: str, directory: Path, **environment: str) -> None:
        arguments = ["-A", "tempfleet_tasks", "beat", "-l", "INFO"]
        super().__init__("beat", directory, arguments, {"TEMP_FILE_REDIS_URL": redis_url, **environment})


def manager_of(host: str, base_dir: Path, redis_url: str, **settings: object) -> TempFileManager:
    """Returns a manager of a host's volume, as an application on that host would create it."""
    return TempFileManager(
        settings=Settings.load(host=host, base_dir=str(base_dir), redis_url=redis_url, **settings)
    )


def files_in(base_dir: Path) -> list[Path]:
    """Returns the files that are left, including those in the manager's private directory, without its own records."""
    if not base_dir.exists():
        return []
    own = (".tempfleet-", "audit.log", "clock.json")
    return sorted(path for path in base_dir.rglob("*") if not path.name.startswith(own))
