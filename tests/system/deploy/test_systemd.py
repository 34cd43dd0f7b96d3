"""The systemd units pass systemd's own verifier."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tempfleet.settings.settings import variables

from .tools import DEPLOY, run, tool

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def installed(unit: Path, tmp_path: Path) -> Path:
    """Returns the unit with an existing program, because the verifier looks for it."""
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/tempfleet/bin/tempfleet", "/bin/true"))
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_it(unit: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", package="systemd")
    assert run(analyze, "verify", str(installed(unit, tmp_path))).strip() == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_is_locked_down_and_says_so_to_systemd(unit: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", package="systemd")
    output = run(analyze, "security", "--offline=true", str(installed(unit, tmp_path)), check=False)
    match = re.search(r"exposure level for \S+: ([\d.]+)", output)
    if match is None:
        pytest.skip(f"this systemd cannot judge a unit offline: {output.strip()[:200]}")
    assert float(match[1]) < 3.0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_its_settings_are_settings_and_no_secret_is_in_its_environment(unit: Path) -> None:
    set_here = re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE)
    assert set(set_here) <= set(variables().values())
    assert "TEMP_FILE_REDIS_URL" not in set_here
    assert "LoadCredential=redis-url:" in unit.read_text()
