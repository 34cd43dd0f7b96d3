"""Programs that these tests need and that may be missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT

DEPLOY = ROOT / "deploy"


def tool(name: str, *, package: str) -> str:
    """Returns the path of the program. Skips the test with the reason if it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on the PATH (Debian: apt install {package})")
    return path


def run(
    *command: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 120,
    check: bool = True,
) -> str:
    """Returns the output of the command, both streams. With *check*, a failure is an AssertionError with the output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        timeout=timeout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout
