"""A real headless browser: the document that it builds from a page, and its warnings."""

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
class RenderedPage:
    """The document that the browser built, and the messages of its console."""

    dom: str
    console: list[str]


def look(url: str, *, profile: Path, wait_ms: int = 0, size: str = "1280,800") -> RenderedPage:
    """Opens *url* and returns what the browser made of it. With *wait_ms*, scripts run for that long."""
    waiting = [f"--virtual-time-budget={wait_ms}"] if wait_ms else []
    result = _chromium("--dump-dom", f"--window-size={size}", *waiting, url, profile=profile)
    return RenderedPage(result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line])


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
