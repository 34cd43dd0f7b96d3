"""The example plug-in: installed by pip, found by its entry point, obeyed by a real console; its own tests pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import ROOT, Packages, console, console_env, wait_until
from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer

pytestmark = pytest.mark.process

EXAMPLE = ROOT / "examples" / "tempfleet-archive"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory where pip installed the example; no index is used."""
    site = tmp_path_factory.mktemp("site-packages")
    command = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *command, EXAMPLE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return site


class Console:
    """Runs ``tempfleet`` in an environment with the example."""

    def __init__(self, site: Path, directory: Path, server: EmbeddedServer, **env: str) -> None:
        self.base_dir = directory / "base"
        self.ledger = directory / "ledger.jsonl"
        self.settings = {"base_dir": str(self.base_dir), "host": "web-1", "redis_url": server.unix_url}
        self.env = console_env(
            directory,
            TEMP_FILE_BASE_DIR=str(self.base_dir),
            TEMP_FILE_HOST="web-1",
            TEMP_FILE_REDIS_URL=server.unix_url,
            TEMPFLEET_ARCHIVE_LEDGER=str(self.ledger),
            **env,
        )
        self.env["PYTHONPATH"] = f"{site}{os.pathsep}{self.env['PYTHONPATH']}"

    def __call__(self, *args: str) -> tuple[int, Any]:
        done = console(*args, "--json", env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=60)
        assert out, err
        return done.returncode, json.loads(out)

    def manager(self) -> TempFileManager:
        return TempFileManager(settings=Settings.load(plugins="off", **self.settings))


@pytest.fixture
def archived(site: Path, tmp_path: Path, real_server: EmbeddedServer, real_client: object) -> Console:
    return Console(site, tmp_path, real_server)


def test_a_clean_up_obeys_the_installed_plug_in(archived: Console) -> None:
    manager = archived.manager()
    for name, tags in (("legal", ["legal"]), ("noted", []), ("other", ["q3"])):
        (archived.base_dir / name).write_text("content")
        manager.register(archived.base_dir / name, ttl=0.001, tags=tags)
    (archived.base_dir / "noted.keep").touch()
    wait_until(lambda: manager.stats().due == 3)

    code, preview = archived("cleanup", "--dry-run")
    assert code == 0
    assert preview["counts"] == {"busy": 2, "deleted": 1}
    assert not archived.ledger.exists()

    code, report = archived("cleanup")
    assert (code, report["deleted"], report["busy"]) == (1, 1, 2)
    left = sorted(
        path.name for path in archived.base_dir.iterdir() if not path.name.startswith(".tempfleet-")
    )
    assert left == ["legal", "noted", "noted.keep"]
    (line,) = map(json.loads, archived.ledger.read_text().splitlines())
    assert line["path"] == str(archived.base_dir / "other")
    assert (line["outcome"], line["tags"], line["freed_bytes"] > 0) == ("deleted", ["q3"], True)
    record = manager.get_record(archived.base_dir / "noted")
    assert record is not None
    assert record.last_error == "veto:archive"
    manager.close()


def test_the_console_shows_it(archived: Console) -> None:
    code, document = archived("plugins")
    (info,) = document["plugins"]
    assert (code, info["name"], info["version"], info["failures"]) == (0, "archive", "1.0.0", [])
    assert info["hooks"] == [
        "before_delete",
        "after_delete",
        "on_failure",
        "near_expiry",
        "eviction_policies",
    ]


def test_a_failing_plug_in_sets_the_exit_status(archived: Console) -> None:
    archived.env["TEMP_FILE_PLUGINS"] = "archive,missing"
    code, document = archived("plugins")
    assert code == 1
    assert [bool(info["failures"]) for info in document["plugins"]] == [False, True]
    manager = archived.manager()
    manager.registry.record_plugin("archive.after_delete", failures=3, reason="disk full", hold_ms=60_000)
    archived.env["TEMP_FILE_PLUGINS"] = "archive"
    code, document = archived("plugins")
    off = {"plugin": "archive", "hook": "after_delete", "said": "disk full"}
    assert (code, document["switched_off"]) == (1, [off])
    manager.close()


def test_plug_ins_are_shown_also_without_redis(site: Path, tmp_path: Path, packages: Packages) -> None:
    env = console_env(
        tmp_path, TEMP_FILE_BASE_DIR=str(tmp_path / "base"), TEMP_FILE_REDIS_URL=f"unix://{tmp_path}/no.sock"
    )
    env["PYTHONPATH"] = f"{site}{os.pathsep}{env['PYTHONPATH']}"
    done = console("plugins", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0
    assert "archive" in out and "ok" in out
    assert "gave no answer" in err


def test_the_examples_own_tests_pass(site: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])},
        check=False,
    )
    assert done.returncode == 0, done.stdout
