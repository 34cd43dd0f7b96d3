"""
The layout: rooms are imported through their front doors, front doors document what they promise, and files and
functions stay short. import-linter checks that imports go downwards only (pyproject.toml, `make lint`).
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
# One class with all public methods, each of them short.
FACADE = "manager/tempfleet/manager/manager.py"

ROOMS = {top: sorted(path.parent.name for path in SOURCES[top].glob("*/__init__.py")) for top in SOURCES}
FILES = sorted(path for top in SOURCES.values() for path in top.rglob("*.py"))


def module_of(path: Path) -> list[str]:
    """Returns the dotted name of a source file as a list. For an __init__ it is the name of the package."""
    top = next(top for top in SOURCES.values() if path.is_relative_to(top))
    parts = [top.name, *path.relative_to(top).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported_modules(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yields line, module and names of each import of this project's code in *path*."""
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
    """Returns the room of *module* with its package, or "" for a module of the top level."""
    return ".".join(module[:2]) if len(module) > 1 and module[1] in ROOMS[module[0]] else ""


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("top", SOURCES)
def test_the_layers_contract_lists_every_room(top: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == [top])
    names = {name for layer in layers for name in layer.split(" | ")}
    modules = {path.stem for path in SOURCES[top].glob("*.py")} - {"__init__", "__main__"}
    assert names == modules | set(ROOMS[top])
    assert len(ROOMS[top]) == {"tempfleet": 14, "tempfleet_tasks": 4}[top]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_another_room_is_imported_through_its_front_door_only(path: Path) -> None:
    own_room = room_of(module_of(path))
    violations = [
        (line, ".".join(target))
        for line, target, _ in imported_modules(path)
        if (room := room_of(target)) and room != own_room and len(target) > 2
    ]
    assert violations == []


@pytest.mark.parametrize(("top", "room"), [(top, room) for top in ROOMS for room in ROOMS[top]])
def test_a_front_door_documents_what_its_room_promises_and_does_not_do(top: str, room: str) -> None:
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
def test_no_file_and_no_function_is_too_long(path: Path) -> None:
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
