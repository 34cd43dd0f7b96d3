"""The type hints let type checkers and editors complete names and report wrong calls."""

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
manager.create(prefix="a", suffix=".csv", ttl=5, tags=["b"], compress=True, mode="x").write("text")
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
manager.create(prefx="a")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a cache for mypy's results, because checking the library takes most of its time."""
    return tmp_path_factory.mktemp("mypy")


def checked(cache: Path, path: Path, code: str) -> tuple[str, int]:
    path.write_text(code)
    output, errors, status = api.run(["--strict", "--cache-dir", str(cache), str(path)])
    assert errors == ""
    return output, status


def test_the_mode_of_create_sets_the_type_of_the_file(cache: Path, tmp_path: Path) -> None:
    output, status = checked(cache, tmp_path / "right.py", RIGHT)
    assert status == 0, output
    types = [
        line.partition('Revealed type is "')[2].rstrip('"')
        for line in output.splitlines()
        if "Revealed" in line
    ]
    assert types == ["tempfleet.manager.temp_file.TempFile[bytes]", "bytes", "str", "str"] or types == [
        "tempfleet.manager.temp_file.TempFile[builtins.bytes]", "builtins.bytes", "builtins.str", "builtins.str",
    ]  # fmt: skip


def test_a_type_checker_reports_wrong_calls(cache: Path, tmp_path: Path) -> None:
    output, status = checked(cache, tmp_path / "wrong.py", WRONG)
    assert status == 1
    for message in (
        'has no attribute "writ"',
        '"write" of "TempFile"',
        '"ttl" to "register"',
        'did you mean "prefix"?',
    ):
        assert message in output
