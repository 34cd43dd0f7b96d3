"""A real headless browser: what it makes of a page, and what it complains about."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


@dataclass(frozen=True)
class Seen:
    """The document after the browser has built it, and what its console said."""

    dom: str
    console: list[str]


def look(url: str, *, profile: Path, wait_ms: int = 0, size: str = "1280,800") -> Seen:
    """Open *url*; with *wait_ms* let its scripts run that long."""
    waiting = [f"--virtual-time-budget={wait_ms}"] if wait_ms else []
    done = _chromium("--dump-dom", f"--window-size={size}", *waiting, url, profile=profile)
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def screenshot(url: str, to: Path, *, profile: Path, size: str = "1280,1420") -> None:
    _chromium(f"--screenshot={to}", f"--window-size={size}", url, profile=profile)


def _chromium(*args: str, profile: Path) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no chromium on the PATH (Debian: apt install chromium)")
    return subprocess.run(
        [binary, *QUIET, f"--user-data-dir={profile}", *args],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
