"""What type checkers and editors see of the library: enough to complete, and to refuse what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

pytestmark = pytest.mark.process

RIGHT = """
from tempfleet import TempFileManager
manager = TempFileManager("/tmp/x")
with manager.create() as file:
    reveal_type(file)
    reveal_type(file.read())
    file.write(b"bytes")
with manager.create(mode="w", encoding="utf-8") as text:
    text.write("text")
    reveal_type(text.read())
with manager.create_dir() as directory:
    reveal_type(directory.path)
"""

WRONG = """
from tempfleet import TempFileManager
manager = TempFileManager("/tmp/x")
file = manager.create()
file.writ(b"")
file.write("text")
manager.register("/tmp/x/file", ttl="10m")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has found out of the library, which takes it most of its time."""
    return tmp_path_factory.mktemp("mypy")


def checked(cache: Path, path: Path, code: str) -> tuple[str, int]:
    path.write_text(code)
    told, errors, status = api.run(["--strict", "--cache-dir", str(cache), str(path)])
    assert errors == ""
    return told, status


def test_what_create_gives_is_known_to_the_letter(cache: Path, tmp_path: Path) -> None:
    told, status = checked(cache, tmp_path / "right.py", RIGHT)
    assert status == 0, told
    seen = [
        line.partition('Revealed type is "')[2].rstrip('"')
        for line in told.splitlines()
        if "Revealed" in line
    ]
    assert seen == ["tempfleet.manager.temp_file.TempFile[bytes]", "bytes", "str", "str"] or seen == [
        "tempfleet.manager.temp_file.TempFile[builtins.bytes]", "builtins.bytes", "builtins.str", "builtins.str",
    ]  # fmt: skip


def test_what_cannot_be_is_refused_before_it_runs(cache: Path, tmp_path: Path) -> None:
    told, status = checked(cache, tmp_path / "wrong.py", WRONG)
    assert status == 1
    for said in ('has no attribute "writ"', '"write" of "TempFile"', '"ttl" to "register"'):
        assert said in told
