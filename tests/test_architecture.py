"""
The layout is held here: rooms are entered by their front doors, front doors say what they promise, and nothing grows
too long to be read. That imports go downwards only is held by import-linter (pyproject.toml, `make lint`).
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

SOURCES = {"tempfleet": ROOT / "manager" / "tempfleet", "tempfleet_tasks": ROOT / "tasks" / "tempfleet_tasks"}
LONGEST_FILE = 300
LONGEST_FUNCTION = 40
FACADE = "manager/tempfleet/manager/manager.py"  # one class with all public methods, each of them short

ROOMS = {top: sorted(path.parent.name for path in SOURCES[top].glob("*/__init__.py")) for top in SOURCES}
FILES = sorted(path for top in SOURCES.values() for path in top.rglob("*.py"))


def module_of(path: Path) -> list[str]:
    """The dotted name of a source file, as a list; a package's own name for its __init__."""
    top = next(top for top in SOURCES.values() if path.is_relative_to(top))
    parts = [top.name, *path.relative_to(top).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported_modules(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Line, module and names of each import of our own code in *path*."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in SOURCES:
                    yield node.lineno, alias.name.split("."), []
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = [*base, *(node.module or "").split(".")] if node.module else base
            if target and target[0] in SOURCES:
                yield node.lineno, target, [alias.name for alias in node.names]


def room_of(module: list[str]) -> str:
    """The room that *module* is in, with its package, or "" for a module of the top level."""
    return ".".join(module[:2]) if len(module) > 1 and module[1] in ROOMS[module[0]] else ""


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("top", SOURCES)
def test_the_rooms_are_those_of_the_contract_on_layers(top: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == [top])
    named = {name for layer in layers for name in layer.split(" | ")}
    modules = {path.stem for path in SOURCES[top].glob("*.py")} - {"__init__", "__main__"}
    assert named == modules | set(ROOMS[top])
    assert len(ROOMS[top]) == {"tempfleet": 14, "tempfleet_tasks": 4}[top]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_another_room_is_entered_by_its_front_door_only(path: Path) -> None:
    mine = room_of(module_of(path))
    wrong = [
        (line, ".".join(target))
        for line, target, _ in imported_modules(path)
        if (room := room_of(target)) and room != mine and len(target) > 2
    ]
    assert wrong == []


@pytest.mark.parametrize(("top", "room"), [(top, room) for top in ROOMS for room in ROOMS[top]])
def test_a_front_door_says_what_its_room_promises_and_what_it_does_not_do(top: str, room: str) -> None:
    front_door = ast.parse((SOURCES[top] / room / "__init__.py").read_text())
    text = ast.get_docstring(front_door) or ""
    assert len([sentence for sentence in text.replace("\n", " ").split(". ") if sentence.strip()]) >= 2
    assert "Promises: " in text
    assert "Does not: " in text
    assigned = [node.targets for node in front_door.body if isinstance(node, ast.Assign)]
    names = [target.id for targets in assigned for target in targets if isinstance(target, ast.Name)]
    # The commands of the console are entry points; no other room imports it.
    assert names == ([] if room == "console" else ["__all__"])


@pytest.mark.parametrize("path", FILES, ids=short)
def test_no_file_and_no_function_is_too_long_to_be_read(path: Path) -> None:
    text = path.read_text()
    if short(path) != FACADE:
        assert text.count("\n") <= LONGEST_FILE
    lengths = {
        f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def own_modules() -> dict[str, set[str]]:
    """Each module of ours -> the modules of ours that it imports, those for type checkers included."""
    names = {".".join(module_of(path)): path for path in FILES}
    return {
        name: {
            module
            for _, target, imported in imported_modules(path)
            for module in (".".join(target), *(".".join([*target, item]) for item in imported))
            if module in names and module != name and names[module].name != "__init__.py"
        }
        for name, path in names.items()
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = own_modules()
    while leaves := {name for name, targets in imports.items() if not targets & imports.keys()}:
        imports = {name: targets for name, targets in imports.items() if name not in leaves}
    assert imports == {}
