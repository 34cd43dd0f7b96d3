"""
The documents are true: every snippet runs in order on a real Redis, the reference matches the code, no link is dead.

A page is one shell session. Its ``sh`` blocks run as they stand. Its ``python`` blocks run between them, or are saved
if they name a file. The session prints each line of the ``console`` blocks. Blocks marked ``docker`` and ``kubernetes``
run in tests/system/deploy if an engine or kubectl is available.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import redis
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from support import ROOT, without_times
from tempfleet import TempFileManager, Volume
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer
from tempfleet.monitoring.metrics import FleetCollector, prometheus_registry
from tempfleet.records import NewFile
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.pulse import Sweep
from tempfleet.registry.store import Store
from tempfleet.settings.settings import variables
from tempfleet.testing import FakeClock
from tempfleet_tasks.console import celery_commands

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUNBOOK = ROOT / "deploy/prometheus/RUNBOOK.md"
DOCUMENTS = [
    *PAGES,
    RUNBOOK,
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("examples/**/*.md")),
]
BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = ("docker", "kubernetes")
PRELUDE = """set -eu -o pipefail
trap 'test -z "$(jobs -p)" || kill $(jobs -p); wait' EXIT
"""


def script_of(page: Path) -> str:
    parts = [PRELUDE]
    for language, info, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "sh" and info not in RUN_ELSEWHERE:
            parts.append(code)
        elif language == "python" and info.startswith("file="):
            parts.append(f"cat > {info.removeprefix('file=')} <<'END-OF-FILE'\n{code}END-OF-FILE\n")
        elif language == "python":
            parts.append(f"python3 -W error - <<'END-OF-PYTHON'\n{code}END-OF-PYTHON\n")
    return "".join(parts)


def runnable(page: Path) -> bool:
    return script_of(page) != PRELUDE


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with EmbeddedServer.start(tmp_path / "server") as server:
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("TEMP_FILE_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TEMP_FILE_REDIS_URL": server.unix_url,
            "TEMP_FILE_BROKER_URL": f"redis+socket://{server.socket_path}",
            "TEMPFLEET_SOURCE": str(ROOT),
            "TMPDIR": str(tmp_path),
        }


@pytest.mark.process
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.stem)
def test_every_snippet_of_the_page_runs(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    home, log = tmp_path / "reader", tmp_path / "log"
    home.mkdir()
    # The tutorial starts its own Redis.
    if page.stem == "tutorial":
        del environment["TEMP_FILE_BROKER_URL"]
    with log.open("wb") as file:
        session = subprocess.Popen(
            ["bash", "-c", script_of(page)], cwd=home, env=environment,
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        code = session.wait(120)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        try:
            os.killpg(session.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        session.wait()
    output = log.read_text(errors="replace")
    assert code == 0, output
    lines = without_names(output.replace(str(home), "/home/me/fleet")).splitlines()
    assert [line for line in expected_lines(page) if line not in lines] == []


def expected_lines(page: Path) -> list[str]:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    answers = "".join(code for language, _, code in blocks if language == "console")
    return without_names(answers).splitlines()


def without_names(text: str) -> str:
    """Replaces durations and the random names of created files."""
    return without_times(re.sub(r"\b[0-9a-f]{40}\b", "NAME", text))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists() and (not anchor or anchor in anchors(target)), link


def command_of(words: list[str]) -> click.Command:
    """Returns the command that *words* name. Fails if the command does not have one of their options."""
    command: click.Command = celery_commands.tempfleet if words[0] == "celery" else main
    options = set(command.get_help_option_names(click.Context(command)))
    for word in words[words.index("tempfleet") + 1 :]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            subcommand = command.get_command(click.Context(command), word)
            assert subcommand is not None, word
            command = subcommand
        options.update(option for param in command.params for option in param.opts)
        assert not word.startswith("-") or word in options, word
    return command


@pytest.mark.parametrize(
    "page",
    [page for page in DOCUMENTS if page.parent.name != "reference"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_command_in_a_document_exists(page: Path) -> None:
    lines = re.findall(r"`((?:celery -A \w+ )?tempfleet\s[^`]+)`", page.read_text(encoding="utf-8"))
    for line in lines:
        command = command_of(line.split())
        needs_subcommand = isinstance(command, click.Group) and not command.invoke_without_command
        assert not needs_subcommand or "--help" in line, line


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_document_opens_flower_to_other_hosts(page: Path) -> None:
    for command in re.findall(r"celery -A \w+ flower[^`\n#]*", page.read_text(encoding="utf-8")):
        assert "--address=127.0.0.1" in command


def test_the_commands_of_the_runbook_adopt_lost_files_and_correct_the_totals(
    environment: dict[str, str], tmp_path: Path
) -> None:
    base = tmp_path / "base"
    environment |= {"TEMP_FILE_BASE_DIR": str(base), "TEMP_FILE_HOST": "web-1"}
    # A file is adopted if it has not changed for this time.
    environment["TEMP_FILE_MAX_AGE"] = "0.001"
    with TempFileManager(base, host="web-1", redis_url=environment["TEMP_FILE_REDIS_URL"]) as manager:
        file = manager.create(ttl=600)
        file.close()
        client = redis.Redis.from_url(environment["TEMP_FILE_REDIS_URL"])
        client.unlink(*client.keys("*:registry"), *client.keys("*:records"))
        assert manager.stats().imbalance == 1
        (adopt,) = re.findall(r"^```sh\n(.*?)^```$", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
        subprocess.run(["bash", "-euc", adopt], env=environment, check=True)
        assert list(manager.files) == [file.path]
        (correct,) = re.findall(r"`(HINCRBY [^`]+)`", RUNBOOK.read_text())
        imbalance = manager.stats().imbalance
        for word, value in {"HOST": "web-1", "BASE_DIR": manager.base_dir, "NUMBER": str(-imbalance)}.items():
            correct = correct.replace(word, value)
        client.execute_command(*correct.split())
        client.close()
        assert manager.stats().imbalance == 0


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    for page in PAGES:
        assert page.name == "index.md" or str(page.relative_to(DOCS)) in index


def test_every_place_that_the_layout_names_exists() -> None:
    layout = (DOCS / "layout.md").read_text()
    places = re.findall(r"`([a-z_/]+(?:/|\.(?:py|lua|toml)))`", layout)
    tops = (ROOT, ROOT / "manager/tempfleet", ROOT / "tasks/tempfleet_tasks")
    assert len(places) > 50
    assert [place for place in places if not any((top / place).exists() for top in tops)] == []
    rooms = {path.parent.name for path in (ROOT / "manager/tempfleet").glob("*/__init__.py")}
    table = layout.partition("## The rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z]+)/` \|", table, re.MULTILINE)) == rooms


def test_every_test_that_a_guarantee_names_exists() -> None:
    for name in re.findall(r"`(tests/\S+)`", (DOCS / "guarantees.md").read_text()):
        assert (ROOT / name).exists(), name


def test_every_row_of_the_table_of_faults_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (?!fault|---)(.+) \|$", (DOCS / "faults.md").read_text(), re.MULTILINE)
    assert rows
    for row in rows:
        name = row.split(" | ")[4].strip("`")
        page, _, function = name.partition("::")
        assert f"def {function}" in (ROOT / page).read_text(), row


def test_the_reference_is_what_the_code_says() -> None:
    pages = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    for name, text in pages.items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, "run make docs"


def test_the_table_of_settings_lists_every_variable() -> None:
    page = (DOCS / "reference/settings.md").read_text()
    assert sorted(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == sorted(variables().values())


def test_every_exported_metric_is_in_the_reference(store: Store, clock: FakeClock) -> None:
    fleet = Fleet(store)
    fleet.registry(Volume("web-1", "/base")).register([NewFile("/base/a", 1)])
    fleet.heartbeat("web-1")
    clock.advance(100)
    fleet.record_sweep(Sweep("web-1", 0.1, 1, 0, 0, 0, 0))
    text = generate_latest(prometheus_registry(FleetCollector(fleet, host=None))).decode()
    reference = (DOCS / "reference/metrics.md").read_text()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in reference or name.startswith("process_")
