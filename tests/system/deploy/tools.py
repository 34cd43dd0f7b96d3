"""Programs that these tests need and a machine may lack."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT

DEPLOY = ROOT / "deploy"


def tool(name: str, *, package: str) -> str:
    """The program's path; the test is skipped, with the reason, where it is not installed."""
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
    """What the command printed, both streams; with *check* an AssertionError with it when it failed."""
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
